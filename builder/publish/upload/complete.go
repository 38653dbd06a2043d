// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
)

// complete seals the snapshot. Number and checksum are those of all blocks that
// were ever stored in it, so that the service finds out if anything is missing.
// When a repeated call is refused, an earlier one may have got through: then the
// state says so.
func (u *uploader) complete(ctx context.Context, s *sender) error {
	in := &ebs.CompleteSnapshotInput{
		SnapshotId:                aws.String(s.snapshot),
		ChangedBlocksCount:        aws.Int32(int32(s.content.written.Len())), // 64 TiB are 2^27 blocks
		Checksum:                  aws.String(s.content.written.Aggregate().Base64()),
		ChecksumAlgorithm:         ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear,
	}
	calls := 0
	err := u.try.control(ctx, func(ctx context.Context) error {
		calls++
		_, err := u.t.API.CompleteSnapshot(ctx, in)
		return err
	})
	if err == nil || calls == 1 || context.Cause(ctx) != nil {
		return err
	}
	if state, stateErr := u.t.State(ctx, s.snapshot); stateErr == nil && state == Completed {
		return nil
	}
	return err
}
