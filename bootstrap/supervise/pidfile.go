// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning means that there is a monitor already.
var ErrRunning = errors.New("the supervisor is running already")

// RunDir is bootstrap's runtime directory below root; empty after a boot.
func RunDir(root string) string { return filepath.Join(root, "run/rightimage") }

func pidPath(root string) string { return filepath.Join(RunDir(root), "supervise.pid") }

// hold makes this process the one monitor. The lock on the pid file, not the
// number in it, says that a monitor lives: numbers are used again.
func hold(root string) (release func(), err error) {
	if err := os.MkdirAll(RunDir(root), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(pidPath(root), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() {
		_ = f.Truncate(0)
		_ = f.Close()
	}, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Status returns the process id of the monitor, and false when none runs.
func Status(root string) (pid int, running bool, err error) {
	f, err := os.Open(pidPath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close() //nolint:errcheck // only read
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return 0, false, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, false, err
	}
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0) // a short read is the rule
	pid, err = strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid <= 1 {
		return 0, true, nil // it is about to write its number
	}
	return pid, true, nil
}

// startLimit bounds the start of a monitor; a machine that boots may be slow.
const startLimit = time.Minute

// Start starts a monitor in the background by running argv, and waits until it
// holds the pid file. It does nothing when one runs already. A monitor that
// ends well before that had nothing to supervise.
func Start(ctx context.Context, root string, argv []string) (started bool, err error) {
	if _, running, err := Status(root); running || err != nil {
		return false, err
	}
	cmd, err := detach(argv)
	if err != nil {
		return false, fmt.Errorf("start the supervisor: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errEnded
		}
		cancel(err)
	}()
	switch err := until(ctx, root, true, startLimit); {
	case errors.Is(err, errEnded):
		return true, nil
	case err != nil:
		return true, fmt.Errorf("the supervisor did not start; the system log says why: %w", err)
	}
	return true, nil
}

// errEnded means that a monitor ended without an error.
var errEnded = errors.New("the supervisor has ended")

// Stop ends the monitor, which ends the agent, and waits for both.
func Stop(ctx context.Context, root string) (stopped bool, err error) {
	pid, running, err := Status(root)
	if err != nil || !running {
		return false, err
	}
	if pid > 1 {
		if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("stop the supervisor (process %d): %w", pid, err)
		}
	}
	if err := until(ctx, root, false, StopLimit+10*time.Second); err != nil {
		return false, fmt.Errorf("the supervisor (process %d) does not end: %w", pid, err)
	}
	return true, nil
}

// until waits until a monitor runs, or does not any more.
func until(ctx context.Context, root string, want bool, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, running, err := Status(root)
		if err != nil || running == want {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
