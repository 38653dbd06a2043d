// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// defaultLockWait is how long another package manager may work, for instance
// the unattended upgrade of a first boot.
const defaultLockWait = 10 * time.Minute

// installLimit bounds one run of dpkg. A cancelled stage does not kill it: dpkg
// ends its work, which is short, and the database stays whole.
const installLimit = 10 * time.Minute

// dpkg says that this machine has dpkg and its database.
func (m *Manager) dpkg() bool {
	for _, path := range []string{"usr/bin/dpkg", "bin/dpkg"} {
		if _, err := os.Stat(filepath.Join(m.Root, path)); err == nil {
			return true
		}
	}
	return false
}

// dpkgStatus returns the status letters and the version, ok false if dpkg has
// never heard of the package.
func (m *Manager) dpkgStatus(ctx context.Context) (status, version string, ok bool) {
	out, err := m.Run.Run(ctx, "dpkg-query", m.dpkgArgs("-W", "-f", "${db:Status-Abbrev} ${Version}\n", name)...)
	fields := strings.Fields(out)
	if err != nil || len(fields) == 0 {
		return "", "", false
	}
	if len(fields) > 1 {
		version = fields[1]
	}
	return fields[0], version, true
}

func (m *Manager) dpkgVersion(ctx context.Context) (string, bool) {
	status, v, ok := m.dpkgStatus(ctx)
	return v, ok && len(status) >= 2 && status[1] == 'i'
}

// dpkgKnows says that the package is installed in whole or in part, or that
// only its configuration is left.
func (m *Manager) dpkgKnows(ctx context.Context) bool {
	if !m.dpkg() {
		return false
	}
	status, _, ok := m.dpkgStatus(ctx)
	return ok && len(status) >= 2 && status[1] != 'n'
}

// Present says that a package manager has RightLink installed, in whole or in
// part.
func (m *Manager) Present(ctx context.Context) bool {
	if _, ok := m.rpmVersion(ctx); ok {
		return true
	}
	if !m.dpkg() {
		return false
	}
	status, _, ok := m.dpkgStatus(ctx)
	return ok && len(status) >= 2 && status[1] != 'n' && status[1] != 'c'
}

func (m *Manager) dpkgArgs(args ...string) []string {
	if filepath.Clean(m.Root) == "/" {
		return args
	}
	return append([]string{"--root=" + m.Root}, args...)
}

func (m *Manager) installDeb(ctx context.Context, path string) error {
	return m.dpkgLocked(ctx, "-i", path)
}

func (m *Manager) purgeDeb(ctx context.Context) error { return m.dpkgLocked(ctx, "--purge", name) }

// dpkgLocked runs dpkg once nobody else does. It looks at the lock first, since
// dpkg's words for it are translated.
func (m *Manager) dpkgLocked(ctx context.Context, args ...string) error {
	return m.locked(ctx, m.lockFile(), "dpkg", m.dpkgArgs(args...))
}

// locked runs a package manager that refuses to work while another one does. A
// shutdown does not break it off in the middle.
func (m *Manager) locked(ctx context.Context, lock, program string, args []string) error {
	limit := m.LockWait
	if limit == 0 {
		limit = defaultLockWait
	}
	var failed error
	w := wait.Waiter{Delay: 2 * time.Second, Deadline: limit, Clock: m.Clock}
	err := w.Until(ctx, "the package manager in use (lock "+lock+")", func(ctx context.Context) (bool, error) {
		if lockHeld(lock) {
			return false, nil
		}
		runCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), installLimit)
		defer cancel()
		_, failed = m.Run.Run(runCtx, program, args...)
		return !isLockError(failed), nil
	})
	if err != nil {
		return err
	}
	return failed
}

func (m *Manager) lockFile() string { return filepath.Join(m.Root, "var/lib/dpkg/lock-frontend") }

// isLockError recognises what dpkg says when the lock is held.
func isLockError(err error) bool {
	var failed *run.Error
	return errors.As(err, &failed) && strings.Contains(failed.Stderr, "lock") &&
		(strings.Contains(failed.Stderr, "another process") || strings.Contains(failed.Stderr, "Resource temporarily unavailable") || strings.Contains(failed.Stderr, "transaction lock"))
}

// lockHeld asks who holds dpkg's lock, without taking it.
func lockHeld(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only asked
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	return unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK
}
