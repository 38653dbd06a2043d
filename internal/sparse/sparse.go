// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package sparse reads a raw disk block by block without reading its holes, and
// computes the checksums that the EBS direct APIs want. It knows no cloud.
package sparse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// BlockSize is the size of a block of the EBS direct APIs. The service allows
// no other: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html
const BlockSize = 512 << 10

// GiB is the unit of volume sizes.
const GiB = 1 << 30

// Disk is an open raw disk, a file or a block device.
type Disk struct {
	file  *os.File
	size  int64
	block int64
	// next finds the next stretch of data; tests replace it.
	next func(off int64) (start, end int64, err error)
}

// errNoData says that only holes follow.
var errNoData = errors.New("no more data")

// errNoSeek says that the file system cannot tell holes from data.
var errNoSeek = errors.New("holes are not known here")

// Open opens a raw disk for reading in blocks of BlockSize.
func Open(path string) (*Disk, error) { return OpenBlocks(path, BlockSize) }

// OpenBlocks is Open with another block size, for tests.
func OpenBlocks(path string, block int64) (*Disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size == 0 {
		err = fmt.Errorf("open disk: %s is empty", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d := &Disk{file: f, size: size, block: block}
	d.next = func(off int64) (int64, int64, error) { return nextData(f, off, size) }
	return d, nil
}

// Close closes the disk.
func (d *Disk) Close() error { return d.file.Close() }

// Size returns the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// BlockSize returns the size of the blocks in bytes.
func (d *Disk) BlockSize() int64 { return d.block }

// SizeGiB returns the size of the volume that can hold the disk: volumes have
// whole gibibytes, so the size is rounded up.
func (d *Disk) SizeGiB() int64 { return (d.size + GiB - 1) / GiB }

// Blocks yields, in ascending order, the index of every block that touches
// data. Blocks inside holes are left out. Where the file system does not know
// holes every block is yielded.
func (d *Disk) Blocks() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		next := int64(0) // first block not yet yielded
		for off := int64(0); off < d.size; {
			start, end, err := d.next(off)
			switch {
			case errors.Is(err, errNoData):
				return
			case errors.Is(err, errNoSeek):
				start, end = off, d.size
			case err != nil:
				yield(0, fmt.Errorf("look for data at %d: %w", off, err))
				return
			}
			for next = max(next, start/d.block); next*d.block < end; next++ {
				if !yield(next, nil) {
					return
				}
			}
			off = end
		}
	}
}

// DataBytes returns how many bytes of the disk Blocks would yield: an upper
// bound of what has to be moved, known without reading.
func (d *Disk) DataBytes() (int64, error) {
	var n int64
	for _, err := range d.Blocks() {
		if err != nil {
			return 0, err
		}
		n += d.block
	}
	return n, nil
}

// Read fills buf, which has the block size, with one block. What lies behind
// the end of the disk is zero.
func (d *Disk) Read(index int64, buf []byte) error {
	n, err := d.file.ReadAt(buf[:d.block], index*d.block)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read block %d: %w", index, err)
	}
	clear(buf[n:])
	return nil
}

// ReadAt implements io.ReaderAt, for those who read more than blocks. Holes are
// zero.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// IsZero reports whether a block holds nothing but zeros. Comparing the block
// with itself, moved by one byte, uses the fast path of bytes.Equal.
func IsZero(block []byte) bool {
	n := len(block)
	return n == 0 || block[0] == 0 && bytes.Equal(block[:n-1], block[1:])
}
