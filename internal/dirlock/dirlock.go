// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Package dirlock takes an exclusive lock on a directory itself, so that no
// lock file stays behind.
package dirlock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock waits for the lock on an existing directory. It ends with unlock, or
// with the process.
func Lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = d.Close() }, nil
}

// Try takes the lock on an existing directory if it is free.
func Try(dir string) (unlock func(), free bool) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, false
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = d.Close()
		return nil, false
	}
	return func() { _ = d.Close() }, true
}
