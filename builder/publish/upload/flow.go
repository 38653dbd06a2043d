// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package upload moves a disk into an EBS snapshot through the EBS direct APIs.
// It knows no images.
package upload

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Upload makes a snapshot of the disk: start, every block that holds data,
// complete. The caller waits for the snapshot and, on an error, deletes what
// Target.Made and Target.Unknown told.
func Upload(ctx context.Context, disk *sparse.Disk, t Target, o Options) (*Snapshot, error) {
	o = o.withDefaults()
	ctx, try := newTries(ctx, o.AttemptTimeout, o.StallTimeout, o.NotYet, o.Concurrency)
	defer try.stop()
	id, err := startSnapshot(ctx, t, disk, try)
	if err != nil {
		return nil, fmt.Errorf("start snapshot: %w", err)
	}
	u := &uploader{api: t.API, disk: disk, snapshot: id, try: try, workers: o.Concurrency}
	if u.total, err = disk.DataBytes(); err != nil {
		return nil, err
	}
	finished := u.report(o.Report)
	err = u.run(ctx)
	finished()
	if err != nil {
		return nil, fmt.Errorf("upload to %s: %w", id, err)
	}
	if err := completeSnapshot(ctx, t, u, try); err != nil {
		return nil, fmt.Errorf("complete %s: %w", id, err)
	}
	n := int64(u.sums.Len())
	return &Snapshot{ID: id, Checksum: u.sums.Aggregate().Base64(), SentBlocks: n, SentBytes: n * sparse.BlockSize, TotalBlocks: n}, nil
}

// startSnapshot starts the snapshot. Repeated calls carry the same token, so
// that a lost reply does not leave a second snapshot.
func startSnapshot(ctx context.Context, t Target, disk *sparse.Disk, try *tries) (string, error) {
	token := uuid.NewString()
	in := t.Start(token)
	in.VolumeSize, in.ClientToken = aws.Int64(disk.SizeGiB()), aws.String(token)
	forgive := t.Unknown(token)
	var out *ebs.StartSnapshotOutput
	err := try.repeat(ctx, func(ctx context.Context) (err error) {
		out, err = t.API.StartSnapshot(ctx, in)
		return err
	})
	if err != nil {
		if certainlyNothing(err) {
			forgive()
		}
		return "", err
	}
	id := aws.ToString(out.SnapshotId)
	t.Made(id)
	forgive()
	if n := aws.ToInt32(out.BlockSize); n != sparse.BlockSize {
		return "", fmt.Errorf("the service wants blocks of %d bytes, this program has blocks of %d", n, sparse.BlockSize)
	}
	try.started()
	return id, nil
}

// certainlyNothing reports whether a failed create call is known to have made
// nothing. After throttling or a conflict it is not: an earlier try of the same
// call may have got through.
func certainlyNothing(err error) bool {
	switch awsx.Class(err) {
	case awsx.Denied, awsx.Quota, awsx.Fatal:
		return true
	default:
		return false
	}
}

// completeSnapshot seals the snapshot. When a repeated call is refused, an
// earlier one may have got through: then the state says so.
func completeSnapshot(ctx context.Context, t Target, u *uploader, try *tries) error {
	in := &ebs.CompleteSnapshotInput{
		SnapshotId:                aws.String(u.snapshot),
		ChangedBlocksCount:        aws.Int32(int32(u.sums.Len())), // 64 TiB are 2^27 blocks
		Checksum:                  aws.String(u.sums.Aggregate().Base64()),
		ChecksumAlgorithm:         ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear,
	}
	calls := 0
	err := try.repeat(ctx, func(ctx context.Context) error {
		calls++
		_, err := t.API.CompleteSnapshot(ctx, in)
		return err
	})
	class := awsx.Class(err)
	if calls > 1 && (class == awsx.Conflict || class == awsx.Fatal || class == awsx.NotYet) {
		if state, stateErr := t.State(ctx, u.snapshot); stateErr == nil && state == Completed {
			return nil
		}
	}
	return err
}

// StalledError says that an upload came to a standstill.
type StalledError struct {
	For  time.Duration
	Last error
}

func (e *StalledError) Error() string {
	text := fmt.Sprintf("nothing could be stored for %s (upload_timeout)", e.For)
	if e.Last != nil {
		text += ", the last reason being: " + e.Last.Error()
	}
	return text
}

// Unwrap returns the reason of the last failed try.
func (e *StalledError) Unwrap() error { return e.Last }
