// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

// Package freespace asks how much room a file system has.
package freespace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Below returns the bytes that ordinary users may still write below a directory.
// Where the system is not asked, the error is errors.ErrUnsupported.
func Below(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the type of a block size differs between architectures
}
