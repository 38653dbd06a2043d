// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// content is what is known of a snapshot's content while it is written: the
// blocks that this run and, with a journal, earlier runs stored in it; the
// blocks whose request was under way when an earlier run died; below them the
// blocks of the parent; below those zeros.
type content struct {
	zero    sparse.Sum // the sum of a block of zeros
	parent  *sparse.Linear
	written sparse.Linear

	mu     sync.Mutex
	unsure map[int64]bool
}

func newContent(blockSize int64, parent *sparse.Linear) *content {
	if parent == nil {
		parent = &sparse.Linear{}
	}
	return &content{zero: sparse.Checksum(make([]byte, blockSize)), parent: parent, unsure: map[int64]bool{}}
}

// holds reports whether the snapshot certainly has a block of this sum.
func (c *content) holds(index int64, sum sparse.Sum) bool {
	c.mu.Lock()
	unsure := c.unsure[index]
	c.mu.Unlock()
	if unsure {
		return false
	}
	if written, ok := c.written.Get(index); ok {
		return written == sum
	}
	if below, ok := c.parent.Get(index); ok {
		return below == sum
	}
	return sum == c.zero
}

// stored records that the service has a block.
func (c *content) stored(index int64, sum sparse.Sum) {
	c.mu.Lock()
	delete(c.unsure, index)
	c.mu.Unlock()
	c.written.Add(index, sum)
}

// doubt records that an earlier run may or may not have stored a block.
func (c *content) doubt(index int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsure[index] = true
}

// indices returns, in ascending order, the blocks in which something may be
// that is not zeros.
func (c *content) indices() []int64 {
	all := slices.Collect(maps.Keys(c.unsure))
	for index := range c.written.All() {
		all = append(all, index)
	}
	for index := range c.parent.All() {
		all = append(all, index)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// work yields, in ascending order, every block that has to be looked at: those
// of the disk that touch data, and those of the snapshot that do not. The second
// value tells that the disk has a hole there.
type work struct {
	index int64
	hole  bool
}

func (c *content) work(disk *sparse.Disk) iter.Seq2[work, error] {
	return func(yield func(work, error) bool) {
		held := c.indices()
		for index, err := range disk.Blocks() {
			for ; len(held) > 0 && held[0] < index && err == nil; held = held[1:] {
				if !yield(work{index: held[0], hole: true}, nil) {
					return
				}
			}
			if len(held) > 0 && held[0] == index {
				held = held[1:]
			}
			if !yield(work{index: index}, err) || err != nil {
				return
			}
		}
		for _, index := range held {
			if !yield(work{index: index, hole: true}, nil) {
				return
			}
		}
	}
}
