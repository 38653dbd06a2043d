// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package sparse

import "os"

// nextData knows no holes on this system.
func nextData(*os.File, int64, int64) (start, end int64, err error) { return 0, 0, errNoSeek }
