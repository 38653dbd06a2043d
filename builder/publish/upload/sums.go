// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Sums are the sums of the blocks of one disk, shared by its uploads to several
// regions: each block is hashed once, also when two uploads want it at the same
// time. The disk must not change meanwhile; if it does, the service refuses the
// block. The zero value is ready.
type Sums struct {
	known sparse.Linear
	locks [64]sync.Mutex // one for all blocks of the same remainder
}

// of returns the sum of a block whose content is buf.
func (s *Sums) of(index int64, buf []byte) sparse.Sum {
	lock := &s.locks[index%int64(len(s.locks))]
	lock.Lock()
	defer lock.Unlock()
	if sum, ok := s.known.Get(index); ok {
		return sum
	}
	sum := sparse.Checksum(buf)
	s.known.Add(index, sum)
	return sum
}

// zero records that a block holds nothing but zeros.
func (s *Sums) zero(index int64, sum sparse.Sum) { s.known.Add(index, sum) }

// get returns a sum that is known without reading the block.
func (s *Sums) get(index int64) (sparse.Sum, bool) { return s.known.Get(index) }
