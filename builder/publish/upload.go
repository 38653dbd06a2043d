// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Bounds of StartSnapshot's Timeout in minutes, from the EBS API reference.
const (
	minSnapshotTimeout = 10
	maxSnapshotTimeout = 4320
)

// upload makes a snapshot of the disk. It is owed from the moment it may exist.
func (p *publisher) upload(ctx context.Context, r *region, disk *sparse.Disk, owed *ledger.Ledger) (*upload.Snapshot, error) {
	snap, err := upload.Upload(ctx, disk, p.target(r, owed), upload.Options{
		Concurrency:    p.UploadConcurrency,
		AttemptTimeout: p.UploadAttemptTimeout,
		StallTimeout:   p.UploadTimeout,
		NotYet:         r.notYet,
		Report:         func(s upload.Progress) { p.say("%s: %s", r.name, s) },
		Say:            func(line string) { p.say("%s: %s", r.name, line) },
	})
	return snap, r.explain("upload", r.name, err)
}

// target is a region as the uploader sees it.
func (p *publisher) target(r *region, owed *ledger.Ledger) upload.Target {
	return upload.Target{
		Region: r.name,
		API:    r.blocks,
		Start: func(token string) *ebs.StartSnapshotInput {
			return &ebs.StartSnapshotInput{
				Description: aws.String("RightImage " + p.AMIName),
				Tags:        ebsTags(p.snapshotTags(token)),
				Timeout:     aws.Int32(p.snapshotTimeout()),
			}
		},
		Made: func(id string) { r.oweSnapshot(owed, id) },
		Unknown: func(token string) func() {
			debt := r.oweUnknownSnapshot(owed, token)
			return func() { owed.Forgive(debt) }
		},
		State: r.uploadState,
		Discard: func(ctx context.Context, old upload.Stale) error {
			if old.SnapshotID == "" {
				r.oweUnknownSnapshot(owed, old.Token)
				return nil
			}
			return r.deleteSnapshot(ctx, old.SnapshotID, time.Time{})
		},
	}
}

// snapshotTimeout is after how many idle minutes the service itself drops the
// snapshot: longer than we would wait, so that it is only for a dead builder.
func (p *publisher) snapshotTimeout() int32 {
	idle := 2*p.UploadTimeout + p.UndoTimeout
	return int32(min(max(idle/time.Minute, minSnapshotTimeout), maxSnapshotTimeout))
}

// uploadState is the state of a snapshot in the uploader's words.
func (r *region) uploadState(ctx context.Context, id string) (upload.State, error) {
	snap, err := r.snapshot(ctx, id)
	switch {
	case err != nil && absent(err):
		return upload.Absent, nil
	case err != nil:
		return "", err
	}
	switch snap.State {
	case types.SnapshotStatePending:
		return upload.Pending, nil
	case types.SnapshotStateCompleted:
		return upload.Completed, nil
	default:
		return upload.Failed, nil
	}
}

// size writes a number of bytes for people.
func size(n int64) string { return upload.Size(n) }
