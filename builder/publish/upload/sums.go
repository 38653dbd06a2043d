// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

// Sums are the sums of the blocks of one disk, shared by its uploads to several
// regions. The zero value is ready.
type Sums struct{}
