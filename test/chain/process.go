// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a running program of the chain, in a process group of its own: an
// interrupt typed at the terminal reaches it through us, once, in order.
type Process struct {
	cmd    *exec.Cmd
	argv   []string
	stdout bytes.Buffer
	log    *os.File
	done   chan struct{}
	err    error
}

// Start runs a program in the background until Stop or the end of the run.
func (e *Env) Start(ctx context.Context, logName string, env []string, name string, args ...string) (*Process, error) {
	p, err := e.start1(ctx, logName, env, name, args...)
	if err != nil {
		return nil, err
	}
	e.OnClose(func(ctx context.Context) error { return p.Stop(ctx) })
	return p, nil
}

func (e *Env) start1(ctx context.Context, logName string, env []string, name string, args ...string) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(e.Logs, logName+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	p := &Process{argv: append([]string{name}, args...), log: log, done: make(chan struct{})}
	// The context ends the program through wait or Stop, with a signal that
	// lets it clean up; exec's own way would kill it.
	p.cmd = exec.Command(name, args...) //nolint:noctx // see above
	p.cmd.Dir = e.Repo
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout = io.MultiWriter(&p.stdout, log)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	fmt.Fprintf(log, "$ %s\n", strings.Join(p.argv, " "))
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = log.Close()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the program's process group.
func (p *Process) Signal(sig syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, sig) }

// Stop asks the program to end and waits for its end; it kills it when ctx ends
// first.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	// Only the program itself gets the signal: all of them end their children
	// in order. It is SIGTERM because the outer process of Packer passes that on
	// to the inner one, and no other.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end in time and was killed", p.argv[0])
	}
}

func (p *Process) wait(ctx context.Context) (string, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		return p.stdout.String(), errors.Join(ctx.Err(), p.Stop(stop))
	}
	if p.err != nil {
		return p.stdout.String(), fmt.Errorf("%s: %w (log: %s)\n%s", strings.Join(p.argv, " "), p.err, p.log.Name(), tail(p.log.Name(), 15))
	}
	return p.stdout.String(), nil
}

// tail returns the last n lines of a file, for error texts.
func tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "  | " + strings.Join(lines, "\n  | ")
}

// Until calls check every pause until it says yes, fails, or ctx ends.
func Until(ctx context.Context, pause time.Duration, what string, check func(context.Context) (bool, error)) error {
	for {
		ok, err := check(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(pause):
		}
	}
}
