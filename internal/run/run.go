// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package run starts commands as argument slices, never as shell strings, and
// ends them together with their children when the context ends.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Runner runs a command and returns its standard output. Fakes record argv.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (string, error)
}

// Exec is the Runner that really starts processes. Prefix is put before every
// command ("sudo", "-n"); empty when the caller is root already.
type Exec struct {
	Prefix []string
	// Dir is the working directory; empty for the caller's own.
	Dir string
	// Env is added to the caller's environment.
	Env []string
	// Copy also gets what the command prints, as it prints it; nil for nobody.
	Copy io.Writer
}

// Error is the failure of a command, with what it printed to standard error.
type Error struct {
	Argv   []string
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", strings.Join(e.Argv, " "), e.Err)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		text += ": " + lastLines(s, 6)
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Run starts the command and waits for it. A non-zero exit is an *Error.
func (x Exec) Run(ctx context.Context, name string, args ...string) (string, error) {
	argv := append(append([]string{}, x.Prefix...), append([]string{name}, args...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = x.Dir
	if len(x.Env) > 0 {
		cmd.Env = append(cmd.Environ(), x.Env...)
	}
	killGroup(cmd)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if x.Copy != nil {
		both := &lockedWriter{w: x.Copy}
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, both), io.MultiWriter(&stderr, both)
	}
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return stdout.String(), &Error{Argv: argv, Stderr: stderr.String(), Err: err}
}

// lockedWriter lets the two outputs of a command share one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}
