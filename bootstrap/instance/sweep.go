// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// sweep removes what a power cut has left of files that were being written in an
// earlier boot. Those of this boot may be other stages' at work.
func sweep(root string) error {
	started, err := bootTime()
	if err != nil {
		return err
	}
	var errs []error
	for _, pattern := range []string{"var/lib/rightscale", "var/lib/rightscale/*", "var/spool/cloud", "var/lib", "etc", "etc/profile.d"} {
		names, err := filepath.Glob(filepath.Join(root, pattern, ".*"))
		errs = append(errs, err)
		for _, name := range names {
			if !atomicfile.IsTemporary(filepath.Base(name)) {
				continue
			}
			info, err := os.Lstat(name)
			if err == nil && info.Mode().IsRegular() && info.ModTime().Before(started) {
				err = os.Remove(name)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// bootTime is when the kernel started, by the clock of now.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
