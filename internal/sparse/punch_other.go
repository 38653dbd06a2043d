// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package sparse

import "os"

// Punch makes a part of a file read as zeros.
func Punch(f *os.File, off, size int64) error { return writeZeros(f, off, size) }
