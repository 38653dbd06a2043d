// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sparse

import "os"

// writeZeros is Punch where there are no holes.
func writeZeros(f *os.File, off, size int64) error {
	zeros := make([]byte, 1<<20)
	for size > 0 {
		n := min(size, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		off, size = off+n, size-n
	}
	return nil
}
