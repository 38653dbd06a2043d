// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package diskfile

import (
	"io/fs"
	"syscall"
)

// Allocated returns the bytes that a file occupies: less than its size when it
// is sparse.
func Allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
