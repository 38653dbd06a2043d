// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package parttable reads the partition table of a disk: GPT (the primary
// table, else its backup), MBR with logical partitions, or none. It only reads,
// every size it takes from the disk is bounded, and every range it returns lies
// inside the disk.
package parttable

import (
	"errors"
	"fmt"
	"io"
)

// Scheme is the kind of a partition table.
type Scheme string

// The schemes that Read tells apart.
const (
	None Scheme = "none" // no table: the whole disk may be one file system
	GPT  Scheme = "gpt"
	MBR  Scheme = "mbr"
)

var (
	// ErrDamaged says that a table is there but cannot be trusted: the checksums
	// of both GPT copies are wrong, or partitions overlap the table itself.
	ErrDamaged = errors.New("damaged partition table")
	// ErrBeyondEnd says that a partition ends after the disk does, which is what
	// a truncated image looks like.
	ErrBeyondEnd = errors.New("partition ends beyond the end of the disk")
)

// Table is a partition table. Partitions are in the order of their numbers.
type Table struct {
	Scheme     Scheme
	SectorSize int64
	// Backup is true when the primary GPT was damaged and its copy at the end of
	// the disk was read instead.
	Backup     bool
	Partitions []Partition
}

// Partition is one entry of a table. Start and Size are in bytes.
type Partition struct {
	Number      int
	Start, Size int64
	// Type is the lower-case GUID of a GPT type, or the two hexadecimal digits
	// of an MBR type.
	Type string
	// Name is the GPT partition name; empty for MBR.
	Name string
	// UUID is the PARTUUID as Linux writes it.
	UUID string
}

// Extended reports whether the partition is an MBR container of logical
// partitions, which holds no file system itself.
func (p Partition) Extended() bool {
	return p.Type == "05" || p.Type == "0f" || p.Type == "85"
}

// Partition returns the partition of that number.
func (t Table) Partition(number int) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Number == number {
			return p, true
		}
	}
	return Partition{}, false
}

// Read reads the partition table of a disk of size bytes.
func Read(r io.ReaderAt, size int64) (Table, error) {
	if size < 512 {
		return Table{Scheme: None, SectorSize: 512}, nil
	}
	first, err := readAt(r, 0, 512)
	if err != nil {
		return Table{}, err
	}
	kind := classify(first)
	if kind != mbrPlain {
		// A GPT wins over its protective or hybrid MBR, but not over a plain
		// MBR that was written over it later; Linux decides the same way.
		t, found, err := readGPT(r, size)
		if found || err != nil {
			return t, err
		}
	}
	switch kind {
	case mbrPlain:
		return readMBR(r, size, first)
	case mbrProtective:
		return Table{}, fmt.Errorf("%w: the protective MBR announces a GPT, but neither its primary nor its backup copy is valid", ErrDamaged)
	default:
		return Table{Scheme: None, SectorSize: 512}, nil
	}
}

// readAt reads exactly n bytes at off.
func readAt(r io.ReaderAt, off int64, n int) ([]byte, error) {
	buf := make([]byte, n)
	got, err := r.ReadAt(buf, off)
	if got == n {
		return buf, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("read %d bytes at offset %d: %w", n, off, err)
}

// within checks that a partition lies inside the disk. The numbers are in
// sectors and come from the disk, so the arithmetic must not overflow.
func within(number int, start, count uint64, sector, size int64) (Partition, error) {
	sectors := uint64(size / sector)
	if start >= sectors || count > sectors-start {
		return Partition{}, fmt.Errorf("%w: partition %d covers sectors %d to %d of %d bytes, and the disk has %d bytes",
			ErrBeyondEnd, number, start, start+count-1, sector, size)
	}
	return Partition{Number: number, Start: int64(start) * sector, Size: int64(count) * sector}, nil
}
