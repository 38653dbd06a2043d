// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package snapshot reads an EBS snapshot through the EBS direct APIs as a disk:
// the blocks that it has, when they are asked for, without a volume and a
// machine.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// API is what of EBS direct is used. *ebs.Client of awsx fits: one that repeats
// nothing by itself.
type API interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error)
}

// Disk is an open snapshot. It is read by several goroutines at once, and its
// memory is bounded whatever they do: see most.
type Disk struct {
	api  API
	id   string
	o    Options
	ctx  context.Context // of everything that is read
	end  context.CancelFunc
	wg   sync.WaitGroup
	gate chan struct{} // requests at a time

	size, block int64
	index       []int64 // of the blocks that the snapshot has, ascending
	token       map[int64]string

	mu    sync.Mutex
	slots map[int64]*slot
	ages  []int64 // indexes of slots, the one that was not wanted for longest first
}

// slot is a block that was read, or is about to be.
type slot struct {
	done chan struct{}
	data []byte
	err  error
	used bool // somebody has asked for it, rather than for one before it
}

// Open lists the blocks of a complete snapshot. ctx is the life of the disk.
func Open(ctx context.Context, api API, id string, o Options) (*Disk, error) {
	d := &Disk{api: api, id: id, o: o.withDefaults(), token: map[int64]string{}, slots: map[int64]*slot{}}
	d.gate = make(chan struct{}, d.o.Concurrency)
	d.ctx, d.end = context.WithCancel(ctx)
	if err := d.list(); err != nil {
		d.end()
		return nil, fmt.Errorf("list the blocks of %s: %w", id, err)
	}
	slices.Sort(d.index)
	return d, nil
}

// Close ends what is still being read.
func (d *Disk) Close() error {
	d.end()
	d.wg.Wait()
	return nil
}

// Size returns the size of the volume that the snapshot makes.
func (d *Disk) Size() int64 { return d.size }

// BlockSize returns the size of the blocks in bytes.
func (d *Disk) BlockSize() int64 { return d.block }

// Blocks yields the index of every block that the snapshot has, ascending.
func (d *Disk) Blocks() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for _, i := range d.index {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Data returns how many bytes the blocks have.
func (d *Disk) Data() int64 { return int64(len(d.index)) * d.block }

// Read fills buf, which has the block size, with one block.
func (d *Disk) Read(index int64, buf []byte) error {
	n, err := d.ReadAt(buf[:d.block], index*d.block)
	if errors.Is(err, io.EOF) {
		clear(buf[n:])
		return nil
	}
	return err
}

// ReadAt implements io.ReaderAt. What the snapshot has no block for is zero.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read before the beginning of the disk")
	}
	n := 0
	for n < len(p) && off < d.size {
		index, in := off/d.block, off%d.block
		length := int(min(int64(len(p)-n), d.block-in, d.size-off))
		data, err := d.read(index)
		if err != nil {
			return n, err
		}
		if data == nil {
			clear(p[n : n+length])
		} else {
			copy(p[n:n+length], data[in:])
		}
		n, off = n+length, off+int64(length)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read returns a block, and has those that follow it read ahead: most of a disk
// is read from its beginning to its end. It is nil where the snapshot has none.
func (d *Disk) read(index int64) ([]byte, error) {
	at, there := slices.BinarySearch(d.index, index)
	if !there {
		return nil, nil
	}
	d.mu.Lock()
	wanted := d.index[at:min(at+1+d.o.Ahead, len(d.index))]
	for _, i := range slices.Backward(wanted) {
		d.want(i)
	}
	s := d.slots[index]
	s.used = true
	d.mu.Unlock()
	select {
	case <-s.done:
	case <-d.ctx.Done():
		return nil, context.Cause(d.ctx)
	}
	if s.err != nil {
		return nil, fmt.Errorf("block %d of %s: %w", index, d.id, s.err)
	}
	return s.data, nil
}

// want has a block read, and makes room for it. Whoever still copies from a block
// that is dropped keeps it for so long.
func (d *Disk) want(index int64) {
	if at := slices.Index(d.ages, index); at >= 0 {
		d.ages = append(slices.Delete(d.ages, at, at+1), index)
		return
	}
	for len(d.ages) >= d.o.most() {
		// What was read ahead for somebody slow stays, as long as there is another.
		at := max(0, slices.IndexFunc(d.ages, func(i int64) bool { return d.slots[i].used }))
		delete(d.slots, d.ages[at])
		d.ages = slices.Delete(d.ages, at, at+1)
	}
	s := &slot{done: make(chan struct{})}
	d.slots[index], d.ages = s, append(d.ages, index)
	d.wg.Go(func() {
		defer close(s.done)
		s.data, s.err = d.fetch(index)
	})
}

var _ io.ReaderAt = (*Disk)(nil)

// checksum is the sum that the service gives with a block.
func checksum(data []byte) string { return sparse.Checksum(data).Base64() }
