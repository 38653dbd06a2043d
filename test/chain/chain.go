// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package chain drives the real programs of this project one after another, as
// a user would: base disk, packer build, local cloud, platform, launch. The
// demo and the end-to-end tests are both written with it.
package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Env is one run: where the repository, the cache and the run's own files are.
type Env struct {
	// Repo is the root of the checkout.
	Repo string
	// Cache holds what may be kept between runs: packer, the base disk, the
	// attachments' packages. It is never needed, only faster.
	Cache string
	// Work holds everything of this run; Close removes it.
	Work string
	// Logs receives a log per program; it outlives Work.
	Logs string
	// Out is told what happens.
	Out io.Writer

	start   time.Time
	closers []func(context.Context) error
}

// New finds the repository above the working directory and makes the run's
// folders. name tells runs apart: "demo", or a test's name.
func New(name string, out io.Writer) (*Env, error) {
	repo, err := findRepo()
	if err != nil {
		return nil, err
	}
	cache := os.Getenv("RIGHTIMAGE_CACHE")
	if cache == "" {
		cache = filepath.Join(repo, ".cache")
	}
	logs := filepath.Join(cache, "logs", name)
	if err := errors.Join(os.RemoveAll(logs), os.MkdirAll(logs, 0o755)); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "rightimage-"+name+"-")
	if err != nil {
		return nil, err
	}
	return &Env{Repo: repo, Cache: cache, Work: work, Logs: logs, Out: out, start: time.Now()}, nil
}

func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "GNUmakefile")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run this inside the repository: no GNUmakefile in this folder or above it")
}

// Say prints one line with the time since the run began.
func (e *Env) Say(format string, args ...any) {
	fmt.Fprintf(e.Out, "[%6.1fs] %s\n", time.Since(e.start).Seconds(), fmt.Sprintf(format, args...))
}

// OnClose registers something to undo when the run ends, last one first.
func (e *Env) OnClose(undo func(context.Context) error) { e.closers = append(e.closers, undo) }

// Close stops everything that the run started and removes its files. It has
// its own clock, so that it also works after an interrupt.
func (e *Env) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i](ctx))
	}
	e.closers = nil
	return errors.Join(append(errs, os.RemoveAll(e.Work))...)
}

// Bin is the path of one of our own built programs.
func (e *Env) Bin(name string) string { return filepath.Join(e.Repo, "bin", name) }

// Command runs a program to its end, with its whole output in the run's log
// folder, and returns its standard output. A cancelled context ends it
// (SIGTERM, then SIGKILL after two minutes), so that it can clean up.
func (e *Env) Command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	p, err := e.start1(ctx, filepath.Base(name), env, name, args...)
	if err != nil {
		return "", err
	}
	return p.wait(ctx)
}

// Lookup returns the first of the named programs that exists.
func Lookup(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("none of these programs is installed: %s; run 'make deps'", strings.Join(names, ", "))
}
