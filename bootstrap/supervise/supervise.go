// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package supervise keeps the agent alive on machines without systemd: a small
// monitor in the background that starts it, waits for it, and starts it again,
// ever more slowly while it keeps failing.
package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// ErrDone is what Before returns when there is nothing to supervise: the
// machine is dormant.
var ErrDone = errors.New("nothing to supervise")

// Limits of the monitor.
const (
	// StopLimit is how long the agent may take to end: its decommission scripts
	// run in this time.
	StopLimit = 200 * time.Second
	// healthy is how long the agent must have run to count as started well.
	healthy  = time.Minute
	minDelay = 2 * time.Second
	maxDelay = 5 * time.Minute
)

// Options of Run.
type Options struct {
	Root string
	// Argv is the command to keep alive.
	Argv []string
	// Before is called before each start; nil for nothing. An error counts as a
	// failed start, ErrDone ends the monitor.
	Before func(context.Context) error
	Log    *slog.Logger
	// Output gets what the command prints.
	Output io.Writer
	// The rest is for tests; 0 means the real ones. Failures is how often in a
	// row the command may fail, Memory what it may use, Watchdog how long it may
	// be silent once it has spoken up.
	StopLimit, MinDelay, Healthy, Watchdog, CheckEvery time.Duration
	Memory                                             int64
	Failures                                           int
}

// Run is the monitor. It ends when ctx ends (then the command gets SIGTERM and
// StopLimit to end), when Before says ErrDone, when the command ends with exit
// code 0, which is how it says that its work is over, or with ErrGivenUp.
func Run(ctx context.Context, o Options) error {
	release, err := hold(o.Root)
	if err != nil {
		return err
	}
	defer release()
	// The command gets SIGTERM when the monitor dies. The kernel ties that to
	// the thread that started it, so the thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o = o.withDefaults()
	delay := backoff.NewExponentialBackOff()
	delay.InitialInterval, delay.MaxInterval, delay.Multiplier, delay.RandomizationFactor = o.MinDelay, maxDelay, 2, 0.25
	failures := 0
	for {
		started := time.Now()
		err := o.once(ctx)
		switch {
		case errors.Is(err, ErrDone):
			o.Log.Info("nothing to supervise")
			return nil
		case ctx.Err() != nil:
			o.Log.Info("stopped", "command", o.Argv[0])
			return nil
		case err == nil:
			o.Log.Info("command ended by itself", "command", o.Argv[0])
			return nil
		}
		if time.Since(started) >= o.Healthy {
			delay.Reset()
			failures = 0
		}
		if !errors.Is(err, errBefore) { // a platform that is away is waited for
			failures++
		}
		if failures >= o.Failures {
			return fmt.Errorf("%w: %w", ErrGivenUp, err)
		}
		pause := delay.NextBackOff()
		o.Log.Warn("command failed, starts again", "command", o.Argv[0], "error", err, "in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (o Options) withDefaults() Options {
	o.StopLimit = cmp.Or(o.StopLimit, StopLimit)
	o.MinDelay = cmp.Or(o.MinDelay, minDelay)
	o.Healthy = cmp.Or(o.Healthy, healthy)
	o.Watchdog = cmp.Or(o.Watchdog, watchdogLimit)
	o.CheckEvery = cmp.Or(o.CheckEvery, checkEvery)
	o.Memory = cmp.Or(o.Memory, memoryLimit)
	o.Failures = cmp.Or(o.Failures, maxFailures)
	return o
}

// errBefore marks a start that was not tried.
var errBefore = errors.New("before the start")

// once prepares, starts and awaits the command.
func (o Options) once(ctx context.Context) error {
	if o.Before != nil {
		if err := o.Before(ctx); err != nil {
			return fmt.Errorf("%w: %w", errBefore, err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cmd := exec.CommandContext(ctx, o.Argv[0], o.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = o.Output, o.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// Only the agent itself is told: what its scripts have started lives on.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = o.StopLimit
	g := newGuard(o)
	defer g.close()
	cmd.Env = append(os.Environ(), g.env()...)
	if err := cmd.Start(); err != nil {
		return err
	}
	o.Log.Info("started", "command", o.Argv[0], "pid", cmd.Process.Pid)
	done := make(chan struct{})
	go g.watch(cmd.Process, done)
	err := cmd.Wait()
	close(done)
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		return nil // ended well; something it started still holds its output
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Argv[0], err)
	}
	return nil
}

// Detach starts argv in a session of its own, without terminal, and returns
// its process id. DetachedEnv is set for it.
func Detach(argv []string) (int, error) {
	cmd, err := detach(argv)
	if err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	return pid, cmd.Process.Release()
}

func detach(argv []string) (*exec.Cmd, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()                        //nolint:errcheck // nothing to lose
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // must outlive this process
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), DetachedEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// DetachedEnv is set in processes without a terminal: they log to the system
// log.
const DetachedEnv = "RIGHTIMAGE_DETACHED"
