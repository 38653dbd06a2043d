// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package attest proves what a disk is and how it was made: a digest that can be
// computed from the file as well as from the blocks of an AMI's snapshot, an
// in-toto statement with SLSA provenance about it, and a signature.
package attest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// digestHead begins what a disk digest is the sum of, so that no other thing has
// the same digest.
const digestHead = "rightimage-disk-digest/1 524288\n"

// DigestName is the name of a disk digest in a statement. It is not "sha256",
// since that is the sum of a file's bytes.
const DigestName = "rightimageBlocksV1"

// DiskDigest is the digest of a disk by the sums of its blocks of 512 KiB: the
// SHA-256 of a head line and, for each block that is not all zeros in ascending
// order, its index as 8 bytes, big-endian, and its SHA-256. Zeros count for
// nothing, written or not, so that a sparse file, a full one, the snapshot made
// of it and every copy of that have one digest, and so has a larger volume.
func DiskDigest(blocks *sparse.Linear) string {
	zero := sparse.Checksum(make([]byte, sparse.BlockSize))
	h := sha256.New()
	h.Write([]byte(digestHead))
	var number [8]byte
	for index, sum := range blocks.All() {
		if sum == zero {
			continue
		}
		binary.BigEndian.PutUint64(number[:], uint64(index))
		h.Write(number[:])
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Blocks returns the sums of the blocks of a disk that are not all zeros. Holes
// are not read. progress, if there is one, is told bytes done and all of them.
func Blocks(ctx context.Context, disk *sparse.Disk, progress func(done, total int64)) (*sparse.Linear, error) {
	total, err := disk.DataBytes()
	if err != nil {
		return nil, err
	}
	sums := &sparse.Linear{}
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	indices := make(chan int64)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buf := make([]byte, disk.BlockSize())
			for index := range indices {
				if err := disk.Read(index, buf); err != nil {
					return err
				}
				if !sparse.IsZero(buf) {
					sums.Add(index, sparse.Checksum(buf))
				}
				if n := done.Add(disk.BlockSize()); progress != nil {
					progress(n, total)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(indices)
		for index, err := range disk.Blocks() {
			if err != nil {
				return err
			}
			select {
			case indices <- index:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return sums, group.Wait()
}

// FileBlocks is Blocks of the raw disk in a file.
func FileBlocks(ctx context.Context, path string, progress func(done, total int64)) (*sparse.Linear, error) {
	disk, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	defer disk.Close() //nolint:errcheck // only read
	sums, err := Blocks(ctx, disk, progress)
	if err != nil {
		return nil, fmt.Errorf("compute the digest of %s: %w", path, err)
	}
	return sums, nil
}

// Difference is a block in which two disks differ.
type Difference struct {
	Block int64 `json:"block"`
	// Offset is the block's first byte on the disk.
	Offset int64 `json:"offset"`
	// Want and Got are the SHA-256 of the block, as hexadecimal digits; "" is a
	// block of zeros.
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
}

// Differences lists the blocks in which got differs from want, ascending.
func Differences(want, got *sparse.Linear) []Difference {
	zero := sparse.Checksum(make([]byte, sparse.BlockSize))
	text := func(l *sparse.Linear, index int64) string {
		if sum, ok := l.Get(index); ok && sum != zero {
			return hex.EncodeToString(sum[:])
		}
		return ""
	}
	out := []Difference{}
	add := func(index int64) {
		if w, g := text(want, index), text(got, index); w != g {
			out = append(out, Difference{Block: index, Offset: index * sparse.BlockSize, Want: w, Got: g})
		}
	}
	a, b := indices(want), indices(got)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			add(a[0])
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			add(b[0])
			b = b[1:]
		default:
			add(a[0])
			a, b = a[1:], b[1:]
		}
	}
	return out
}

func indices(l *sparse.Linear) []int64 {
	out := make([]int64, 0, l.Len())
	for index := range l.All() {
		out = append(out, index)
	}
	return out
}
