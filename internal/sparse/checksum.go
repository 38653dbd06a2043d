// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sparse

import (
	"crypto/sha256"
	"encoding/base64"
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
// all sums in ascending order of their block index. It may be used by several
// goroutines; the zero value is ready.
type Linear struct {
	mu   sync.Mutex
	sums map[int64]Sum
}

// Add records the sum of a block. A second sum of a block replaces the first.
func (l *Linear) Add(index int64, s Sum) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sums == nil {
		l.sums = map[int64]Sum{}
	}
	l.sums[index] = s
}

// Len returns how many blocks were recorded.
func (l *Linear) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sums)
}

// Aggregate returns the aggregate of what was recorded.
func (l *Linear) Aggregate() Sum {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := sha256.New()
	for _, index := range slices.Sorted(maps.Keys(l.sums)) {
		s := l.sums[index]
		h.Write(s[:])
	}
	return Sum(h.Sum(nil))
}
