// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Bounds of StartSnapshot's Timeout in minutes, from the EBS API reference.
const (
	minSnapshotTimeout = 10
	maxSnapshotTimeout = 4320
)

// snapshot is what an upload made.
type snapshot struct {
	id       string
	checksum string
}

// upload makes a snapshot of the disk: start, every block that holds data,
// complete. The snapshot is owed from the moment it may exist.
func (p *publisher) upload(ctx context.Context, r *region, disk *sparse.Disk, owed *ledger.Ledger) (snapshot, error) {
	ctx, try := newTries(ctx, p.UploadAttemptTimeout, p.UploadTimeout, r.notYet, p.UploadConcurrency)
	defer try.stop()
	id, err := p.startSnapshot(ctx, r, disk, try, owed)
	if err != nil {
		return snapshot{}, r.explain("start snapshot", r.name, err)
	}
	u := &uploader{api: r.blocks, disk: disk, snapshot: id, try: try, workers: p.UploadConcurrency}
	if u.total, err = disk.DataBytes(); err != nil {
		return snapshot{}, err
	}
	finished := u.report(func(s Progress) { p.say("%s: %s", r.name, s) })
	err = u.run(ctx)
	finished()
	if err != nil {
		return snapshot{}, r.explain("upload to "+id, r.name, err)
	}
	if err := p.completeSnapshot(ctx, r, u, try); err != nil {
		return snapshot{}, r.explain("complete "+id, r.name, err)
	}
	return snapshot{id: id, checksum: u.sums.Aggregate().Base64()}, nil
}

// startSnapshot starts the snapshot. Repeated calls carry the same token, so
// that a lost reply does not leave a second snapshot.
func (p *publisher) startSnapshot(ctx context.Context, r *region, disk *sparse.Disk, try *tries, owed *ledger.Ledger) (string, error) {
	publishID := uuid.NewString()
	in := &ebs.StartSnapshotInput{
		VolumeSize:  aws.Int64(disk.SizeGiB()),
		ClientToken: aws.String(publishID),
		Description: aws.String("RightImage " + p.AMIName),
		Tags:        ebsTags(p.snapshotTags(publishID)),
		Timeout:     aws.Int32(p.snapshotTimeout()),
	}
	unknown := r.oweUnknownSnapshot(owed, publishID)
	var out *ebs.StartSnapshotOutput
	err := try.repeat(ctx, func(ctx context.Context) (err error) {
		out, err = r.blocks.StartSnapshot(ctx, in)
		return err
	})
	if err != nil {
		if certainlyNothing(err) {
			owed.Forgive(unknown)
		}
		return "", err
	}
	id := aws.ToString(out.SnapshotId)
	r.oweSnapshot(owed, id)
	owed.Forgive(unknown)
	if n := aws.ToInt32(out.BlockSize); n != sparse.BlockSize {
		return "", fmt.Errorf("the service wants blocks of %d bytes, this program has blocks of %d", n, sparse.BlockSize)
	}
	try.started()
	return id, nil
}

// snapshotTimeout is after how many idle minutes the service itself drops the
// snapshot: longer than we would wait, so that it is only for a dead builder.
func (p *publisher) snapshotTimeout() int32 {
	idle := 2*p.UploadTimeout + p.UndoTimeout
	return int32(min(max(idle/time.Minute, minSnapshotTimeout), maxSnapshotTimeout))
}

// completeSnapshot seals the snapshot. When a repeated call is refused, an
// earlier one may have got through: then the state says so.
func (p *publisher) completeSnapshot(ctx context.Context, r *region, u *uploader, try *tries) error {
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
		_, err := r.blocks.CompleteSnapshot(ctx, in)
		return err
	})
	class := awsx.Class(err)
	if calls > 1 && (class == awsx.Conflict || class == awsx.Fatal || class == awsx.NotYet) {
		if snap, descErr := r.snapshot(ctx, u.snapshot); descErr == nil && snap.State == types.SnapshotStateCompleted {
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
