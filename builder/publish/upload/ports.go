// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
)

// Writer writes a snapshot block by block. *ebs.Client of awsx fits: one that
// repeats nothing by itself.
type Writer interface {
	StartSnapshot(context.Context, *ebs.StartSnapshotInput, ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *ebs.PutSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error)
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
}

// Reader reads a finished snapshot. *ebs.Client fits.
type Reader interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error)
}

// State is what has become of a snapshot.
type State string

// The states. EC2 calls them pending, completed, error, and "not found".
const (
	Pending   State = "pending"
	Completed State = "completed"
	Failed    State = "failed"
	Absent    State = "absent"
)

// Stale is a snapshot of an earlier run that cannot be used any more. When the
// earlier run died before it knew the id, only the token is there: the
// snapshot, if there is one, carries it as its tag.
type Stale struct {
	SnapshotID string // or ""
	Token      string
	Why        string
}

// Target is the region that gets the snapshot, with what the caller has to say
// about it.
type Target struct {
	// Region is its name, for messages and manifests.
	Region string
	// API writes the snapshot.
	API Writer
	// Read rebuilds the manifest of a parent that has none; nil: such a parent
	// is not used.
	Read Reader
	// Start returns the request that starts the snapshot, with description,
	// tags (the token among them, so that a snapshot whose id was lost can be
	// found), encryption and Timeout. VolumeSize, ClientToken and
	// ParentSnapshotId are set by Upload.
	Start func(token string) *ebs.StartSnapshotInput
	// Made is called as soon as a snapshot is known, also one of an earlier run;
	// forgive is called when Discard has deleted it.
	Made func(snapshotID string) (forgive func())
	// Unknown covers the time in which a snapshot may exist whose id is not
	// known; forgive ends it.
	Unknown func(token string) (forgive func())
	// State looks at a snapshot: a parent, one of an earlier run, or after a
	// lost reply. It is called once each time and repeats what it must itself.
	State func(ctx context.Context, snapshotID string) (State, error)
	// Discard deletes a snapshot of an earlier run. An error is told to Say and
	// stops nothing.
	Discard func(ctx context.Context, old Stale) error
}
