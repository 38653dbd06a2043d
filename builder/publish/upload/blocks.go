// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// uploader moves the blocks of one disk into one snapshot.
type uploader struct {
	api      Writer
	disk     *sparse.Disk
	snapshot string
	try      *tries
	workers  int

	total int64        // bytes that are not holes
	done  atomic.Int64 // of them
	sums  sparse.Linear
	pool  sync.Pool
}

// run stores every block that holds data. It reads ahead no further than there
// are workers, so memory is bounded by their number.
func (u *uploader) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(u.workers)
	for index, err := range u.disk.Blocks() {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			// A worker's own error is the better one, if there is one.
			if failed := group.Wait(); failed != nil {
				return failed
			}
			return err
		}
		group.Go(func() error { return u.block(ctx, index) })
	}
	return group.Wait()
}

// block stores one block, unless it is nothing but zeros: what was never
// written reads as zeros.
func (u *uploader) block(ctx context.Context, index int64) error {
	buf := u.buffer()
	// A try that was given up may still be reading its buffer on the way to the
	// network, so only buffers that no try failed with are used again.
	clean := true
	defer func() {
		if clean {
			u.pool.Put(buf)
		}
	}()
	if err := u.disk.Read(index, *buf); err != nil {
		return err
	}
	if sparse.IsZero(*buf) {
		u.done.Add(sparse.BlockSize)
		u.try.moved()
		return nil
	}
	sum := sparse.Checksum(*buf)
	err := u.try.repeat(ctx, func(ctx context.Context) error {
		_, err := u.api.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId:        aws.String(u.snapshot),
			BlockIndex:        aws.Int32(int32(index)), // 64 TiB are 2^27 blocks
			BlockData:         bytes.NewReader(*buf),
			DataLength:        aws.Int32(sparse.BlockSize),
			Checksum:          aws.String(sum.Base64()),
			ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		clean = clean && err == nil
		return err
	})
	if err != nil && context.Cause(ctx) == nil {
		return fmt.Errorf("block %d: %w", index, err)
	}
	if err != nil {
		return err // the reason lies not with this block
	}
	u.sums.Add(index, sum)
	u.done.Add(sparse.BlockSize)
	return nil
}

func (u *uploader) buffer() *[]byte {
	if buf, ok := u.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, sparse.BlockSize)
	return &buf
}
