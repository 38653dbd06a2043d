// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

// Image is what one region got.
type Image struct {
	ImageID     string   `json:"image_id"`
	SnapshotIDs []string `json:"snapshot_ids"`
}

// Result is what Publish made.
type Result struct {
	Images map[string]Image `json:"images"`
}
