// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// ReadBack reads every block of a finished snapshot and returns its manifest:
// what the service itself holds, each block checked against its sum. Of the
// options those about requests count. progress, if there is one, is told how
// many bytes were read.
func ReadBack(ctx context.Context, region string, api Reader, snapshotID string, o Options, progress func(done int64)) (*Manifest, error) {
	ctx, try, stop := newTries(ctx, o.withDefaults())
	defer stop()
	b := &back{api: api, try: try, region: region, block: sparse.BlockSize, progress: progress}
	m, err := b.manifest(ctx, snapshotID)
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return m, err
}

// back reads a snapshot.
type back struct {
	api    Reader
	try    *tries
	region string
	block  int64 // bytes
	most   int64 // GiB that it may have; 0 for any size

	done     atomic.Int64
	progress func(done int64) // or nil
}

func tooLarge(gib, disk int64) error {
	return &errUnfit{fmt.Sprintf("it has %d GiB, the disk has %d", gib, disk)}
}

// manifest makes the manifest of a snapshot by reading it.
func (b *back) manifest(ctx context.Context, id string) (*Manifest, error) {
	m := &Manifest{BlockSize: b.block, Sums: &sparse.Linear{}, Snapshots: map[string]string{b.region: id}}
	group, workers := errgroup.WithContext(ctx)
	err := b.list(workers, id, func(page *ebs.ListSnapshotBlocksOutput) error {
		m.VolumeGiB = aws.ToInt64(page.VolumeSize)
		switch {
		case int64(aws.ToInt32(page.BlockSize)) != m.BlockSize:
			return &errUnfit{fmt.Sprintf("it has blocks of %d bytes", aws.ToInt32(page.BlockSize))}
		case b.most > 0 && m.VolumeGiB > b.most:
			return tooLarge(m.VolumeGiB, b.most)
		}
		for _, block := range page.Blocks {
			if err := b.try.gate.enter(workers); err != nil {
				return err
			}
			group.Go(func() error {
				defer b.try.gate.leave()
				sum, err := b.read(workers, id, aws.ToInt32(block.BlockIndex), aws.ToString(block.BlockToken))
				if err == nil {
					m.Sums.Add(int64(aws.ToInt32(block.BlockIndex)), sum)
					b.moved()
				}
				return err
			})
		}
		return nil
	})
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", id, err)
	}
	return m, nil
}

func (b *back) moved() {
	b.try.moved()
	if n := b.done.Add(b.block); b.progress != nil {
		b.progress(n)
	}
}

// list hands out the pages of blocks that a snapshot has.
func (b *back) list(ctx context.Context, id string, page func(*ebs.ListSnapshotBlocksOutput) error) error {
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(id)}
	for {
		var out *ebs.ListSnapshotBlocksOutput
		err := b.try.control(ctx, func(ctx context.Context) (err error) {
			out, err = b.api.ListSnapshotBlocks(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
		if err := page(out); err != nil || out.NextToken == nil {
			return err
		}
		in.NextToken = out.NextToken
	}
}

// read returns the sum of a block of a snapshot, which must be the one that the
// service gives.
func (b *back) read(ctx context.Context, id string, index int32, token string) (sum sparse.Sum, err error) {
	err = b.try.block(ctx, func(ctx context.Context) error {
		out, err := b.api.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{
			SnapshotId: aws.String(id), BlockIndex: aws.Int32(index), BlockToken: aws.String(token),
		})
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(out.BlockData, b.block+1))
		if err := errors.Join(err, out.BlockData.Close()); err != nil {
			return err
		}
		if int64(len(data)) != b.block {
			return io.ErrUnexpectedEOF
		}
		sum = sparse.Checksum(data)
		if want := aws.ToString(out.Checksum); want != sum.Base64() {
			return fmt.Errorf("block %d has the sum %s, and should have %s", index, sum.Base64(), want)
		}
		return nil
	})
	return sum, err
}
