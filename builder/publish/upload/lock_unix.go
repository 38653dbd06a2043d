// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package upload

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errBusy says that another process holds the journal.
var errBusy = errors.New("another upload of the same image to the same region is under way")

// lock takes the journal for this process. It ends with the file, or with the
// process.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errBusy
	}
	return err
}
