// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// sender moves the blocks of the disk into one snapshot.
type sender struct {
	u        *uploader
	snapshot string
	token    string
	resumed  bool
	content  *content
	// sealed: the snapshot takes no more blocks; it is only compared.
	sealed bool
	data   sparse.Linear // the blocks of the disk that are not zeros

	total      int64        // blocks to look at
	seen, sent atomic.Int64 // of them
	buffers    buffers
}

// errChanged ends the comparison with a snapshot that takes no more blocks.
var errChanged = errors.New("it was completed, and the disk has changed since")

// run looks at every block and stores those that the snapshot does not hold. A
// block is read when there is a place for it at the gate, so that memory is
// bounded by the number of requests at a time.
func (s *sender) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan work)
	err := s.hand(ctx, func(w work) {
		select {
		case jobs <- w:
		default: // all workers have something to do
			group.Go(func() error { return s.work(ctx, w, jobs) })
		}
	})
	close(jobs)
	// A worker's own error is the better one, if there is one.
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// hand gives out every block when there is a place for it at the gate.
func (s *sender) hand(ctx context.Context, give func(work)) error {
	for w, err := range s.content.work(s.u.disk) {
		if err == nil {
			err = s.u.try.gate.enter(ctx)
		}
		if err != nil {
			return err
		}
		give(w)
	}
	return nil
}

// work does one block after the other. Workers are kept because the SDK needs a
// large stack, and growing one for every block is a tenth of all the work.
func (s *sender) work(ctx context.Context, w work, jobs <-chan work) error {
	for more := true; more; w, more = <-jobs {
		err := s.block(ctx, w)
		s.u.try.gate.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

// block stores one block unless the snapshot holds it already. Where its sum is
// known from another region it is not even read for that.
func (s *sender) block(ctx context.Context, w work) error {
	sum, known := s.u.o.Sums.get(w.index)
	if w.hole {
		sum, known = s.content.zero, true
	}
	if known && s.content.holds(w.index, sum) {
		s.account(w.index, sum, false)
		return nil
	}
	buf, sum, err := s.prepare(ctx, w)
	if err != nil {
		return err
	}
	switch {
	case s.content.holds(w.index, sum):
		s.account(w.index, sum, false)
	case s.sealed:
		err = errChanged
	default:
		if err := s.store(ctx, w, buf, sum); err != nil {
			return err
		}
		s.account(w.index, sum, true)
		return nil
	}
	s.buffers.put(buf)
	return err
}

// prepare reads and hashes a block. There are only as many at it as can get
// anything done: the fewer buffers there are, the more of them stay in the
// processor's cache.
func (s *sender) prepare(ctx context.Context, w work) (*[]byte, sparse.Sum, error) {
	select {
	case s.u.desks <- struct{}{}:
		defer func() { <-s.u.desks }()
	case <-ctx.Done():
		return nil, sparse.Sum{}, context.Cause(ctx)
	}
	buf := s.buffers.get()
	sum, err := s.read(w, *buf)
	return buf, sum, err
}

// read fills buf with a block of the disk and returns its sum.
func (s *sender) read(w work, buf []byte) (sparse.Sum, error) {
	if w.hole {
		clear(buf)
		return s.content.zero, nil
	}
	if err := s.u.disk.Read(w.index, buf); err != nil {
		return sparse.Sum{}, err
	}
	if sparse.IsZero(buf) {
		s.u.o.Sums.zero(w.index, s.content.zero)
		return s.content.zero, nil
	}
	return s.u.o.Sums.of(w.index, buf), nil
}

// store puts one block into the snapshot. It takes buf; should the block have
// to be sent again, it is read again.
func (s *sender) store(ctx context.Context, w work, buf *[]byte, sum sparse.Sum) error {
	if err := s.u.journal.intend(w.index); err != nil {
		return err
	}
	checksum := sum.Base64()
	err := s.u.try.block(ctx, func(ctx context.Context) error {
		if buf == nil {
			var err error
			if buf, _, err = s.prepare(ctx, w); err != nil {
				return err
			}
		}
		data := newBody(&s.buffers, buf)
		buf = nil
		_, err := s.u.t.API.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId:        aws.String(s.snapshot),
			BlockIndex:        aws.Int32(int32(w.index)), // 64 TiB are 2^27 blocks
			BlockData:         data,
			DataLength:        aws.Int32(int32(data.size)),
			Checksum:          aws.String(checksum),
			ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		return err
	})
	if err != nil && context.Cause(ctx) == nil {
		return fmt.Errorf("block %d: %w", w.index, err)
	}
	if err != nil {
		return err // the reason lies not with this block
	}
	s.content.stored(w.index, sum)
	return s.u.journal.done(w.index, sum)
}

// account notes that a block is where it should be.
func (s *sender) account(index int64, sum sparse.Sum, sent bool) {
	if sum != s.content.zero {
		s.data.Add(index, sum)
	}
	if sent {
		s.sent.Add(1)
	}
	s.seen.Add(1)
	s.u.try.moved()
}
