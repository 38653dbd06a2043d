// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

// Manifest says what a disk held when it was uploaded, and which snapshots hold
// it now.
type Manifest struct {
	// Snapshots are the ids by region.
	Snapshots map[string]string
}
