// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sparse

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Punch makes a part of a file read as zeros: a hole where the file system can.
func Punch(f *os.File, off, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, off, size)
	}
	return os.NewSyscallError("fallocate", err)
}
