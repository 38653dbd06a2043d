// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sparse

import (
	"crypto/sha256"
	"encoding/base64"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Sum is the SHA-256 of a block.
type Sum [sha256.Size]byte

// Checksum returns the SHA-256 of a block.
func Checksum(block []byte) Sum { return sha256.Sum256(block) }

// Base64 returns the sum as the EBS direct APIs carry it.
func (s Sum) Base64() string { return base64.StdEncoding.EncodeToString(s[:]) }

// Linear collects block sums and forms their linear aggregate: the SHA-256 of
// all sums in ascending order of their block index. It takes little more than
// the 32 bytes of each sum: 64 MiB for a tebibyte of data. It may be used by
// several goroutines; the zero value is ready.
type Linear struct {
	mu     sync.RWMutex
	chunks map[int64]*chunk
	n      int
}

// chunkBlocks is how many neighbours are kept together: few enough for a disk
// with a block here and there.
const chunkBlocks = 64

// chunk holds neighbours; has tells by its bits which of them are there.
type chunk struct {
	has  uint64
	sums [chunkBlocks]Sum
}

func place(index int64) (at int64, slot int64, bit uint64) {
	slot = index % chunkBlocks
	return index / chunkBlocks, slot, 1 << slot
}

// Add records the sum of a block. A second sum of a block replaces the first.
func (l *Linear) Add(index int64, s Sum) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chunks == nil {
		l.chunks = map[int64]*chunk{}
	}
	at, slot, bit := place(index)
	c := l.chunks[at]
	if c == nil {
		c = &chunk{}
		l.chunks[at] = c
	}
	if c.has&bit == 0 {
		c.has |= bit
		l.n++
	}
	c.sums[slot] = s
}

// Get returns the sum that was recorded for a block.
func (l *Linear) Get(index int64) (Sum, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	at, slot, bit := place(index)
	if c := l.chunks[at]; c != nil && c.has&bit != 0 {
		return c.sums[slot], true
	}
	return Sum{}, false
}

// Remove forgets a block.
func (l *Linear) Remove(index int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, _, bit := place(index)
	if c := l.chunks[at]; c != nil && c.has&bit != 0 {
		c.has &^= bit
		l.n--
	}
}

// Len returns how many blocks were recorded.
func (l *Linear) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.n
}

// All yields what was recorded, in ascending order. Nothing may be recorded
// meanwhile.
func (l *Linear) All() iter.Seq2[int64, Sum] {
	return func(yield func(int64, Sum) bool) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		for _, at := range slices.Sorted(maps.Keys(l.chunks)) {
			c := l.chunks[at]
			for slot := range int64(chunkBlocks) {
				if c.has&(1<<slot) != 0 && !yield(at*chunkBlocks+slot, c.sums[slot]) {
					return
				}
			}
		}
	}
}

// Aggregate returns the aggregate of what was recorded.
func (l *Linear) Aggregate() Sum {
	h := sha256.New()
	for _, s := range l.All() {
		h.Write(s[:])
	}
	return Sum(h.Sum(nil))
}
