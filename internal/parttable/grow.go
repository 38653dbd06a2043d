// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package parttable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrCannotGrow says that a partition cannot be grown in place: another one
// follows it, it is a logical partition, or there is no table.
var ErrCannotGrow = errors.New("partition cannot grow in place")

// growAlign is where a grown partition ends, and the least that is worth a
// change.
const growAlign = 1 << 20

// Disk is what Grow needs of a disk. A Sync method is used if there is one.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Grow makes the last partition of a disk of size bytes reach to the end of the
// disk and returns its new size. The table is written so that a kill at any
// moment leaves one valid copy of it, and the next call ends the work. When
// less than 1 MiB can be won from an intact table nothing is written and
// changed is false.
func Grow(d Disk, size int64, number int) (newSize int64, changed bool, err error) {
	first, err := readAt(d, 0, mbrSector)
	if err != nil {
		return 0, false, err
	}
	switch classify(first) {
	case mbrProtective:
		return growGPT(d, size, number, first)
	case mbrPlain:
		return growMBR(d, size, number, first)
	default:
		return 0, false, fmt.Errorf("%w: the disk has no partition table", ErrCannotGrow)
	}
}

// gptCopy is a valid copy of a GPT: raw header, raw entries, and where it was.
type gptCopy struct {
	header  []byte
	entries []byte
	h       gptHeader
	sector  int64
}

func growGPT(d Disk, size int64, number int, mbr []byte) (int64, bool, error) {
	g, err := findGPT(d, size)
	if err != nil {
		return 0, false, err
	}
	le := binary.LittleEndian
	sectors := uint64(size / g.sector)
	tableSectors := uint64((int64(len(g.entries)) + g.sector - 1) / g.sector)
	backupEntries := sectors - 1 - tableSectors
	lastUsable := backupEntries - 1
	entry, err := lastEntry(g, number)
	if err != nil {
		return 0, false, err
	}
	start, end := le.Uint64(entry[32:]), le.Uint64(entry[40:])
	align := uint64(growAlign / g.sector)
	newEnd := (lastUsable+1)/align*align - 1
	if lastUsable < end || newEnd < end+align {
		if le.Uint64(g.header[24:]) == 1 {
			return int64(end-start+1) * g.sector, false, nil
		}
		newEnd = end // an earlier run was killed halfway: the primary copy is still to be written
	}
	le.PutUint64(entry[40:], newEnd)
	return int64(newEnd-start+1) * g.sector, true, g.write(d, size, lastUsable, backupEntries, mbr)
}

// findGPT returns the primary copy, or the backup if the primary is damaged.
func findGPT(d Disk, size int64) (gptCopy, error) {
	for _, sector := range []int64{512, 4096} {
		last := size/sector - 1
		if last < 2 {
			continue
		}
		for _, lba := range []int64{1, last} {
			h, ok, err := readHeader(d, lba, sector, size)
			if err != nil {
				return gptCopy{}, err
			}
			if !ok {
				continue
			}
			entries, ok, err := readEntries(d, h, sector, size)
			if err != nil {
				return gptCopy{}, err
			}
			if !ok {
				continue
			}
			raw, err := readAt(d, lba*sector, int(sector))
			return gptCopy{raw, entries, h, sector}, err
		}
	}
	return gptCopy{}, fmt.Errorf("%w: neither copy of the GPT is valid", ErrDamaged)
}

// lastEntry returns the raw entry of the partition, which must be the last one
// on the disk.
func lastEntry(g gptCopy, number int) ([]byte, error) {
	le := binary.LittleEndian
	at := func(i int) []byte { return g.entries[i*int(g.h.entrySize):][:gptMinEntry] }
	if number < 1 || number > int(g.h.entries) || le.Uint64(at(number - 1)[32:]) == 0 {
		return nil, fmt.Errorf("%w: there is no partition %d", ErrCannotGrow, number)
	}
	entry := at(number - 1)
	for i := range int(g.h.entries) {
		if first := le.Uint64(at(i)[32:]); first > le.Uint64(entry[32:]) {
			return nil, fmt.Errorf("%w: partition %d lies behind partition %d", ErrCannotGrow, i+1, number)
		}
	}
	return entry, nil
}

// write puts the backup copy to the new end of the disk first; while the
// primary copy is written, the backup is complete.
func (g gptCopy) write(d Disk, size int64, lastUsable, backupEntries uint64, mbr []byte) error {
	last := uint64(size/g.sector) - 1
	primaryEntries := uint64(2)
	if binary.LittleEndian.Uint64(g.header[24:]) == 1 {
		primaryEntries = g.h.entriesLBA // some tools leave a gap before the entries
	}
	sum := crc32.ChecksumIEEE(g.entries)
	w := &orderedWriter{d: d}
	w.at(g.entries, int64(backupEntries)*g.sector)
	w.at(g.headerFor(last, 1, lastUsable, backupEntries, sum), int64(last)*g.sector)
	w.sync()
	w.at(protectiveFor(mbr, last), 0)
	w.at(g.entries, int64(primaryEntries)*g.sector)
	w.at(g.headerFor(1, last, lastUsable, primaryEntries, sum), g.sector)
	w.sync()
	return w.err
}

// headerFor renders a header for one of the two places.
func (g gptCopy) headerFor(self, other, lastUsable, entriesLBA uint64, entriesCRC uint32) []byte {
	le := binary.LittleEndian
	raw := append([]byte(nil), g.header...)
	le.PutUint64(raw[24:], self)
	le.PutUint64(raw[32:], other)
	le.PutUint64(raw[48:], lastUsable)
	le.PutUint64(raw[72:], entriesLBA)
	le.PutUint32(raw[88:], entriesCRC)
	length := le.Uint32(raw[12:])
	le.PutUint32(raw[16:], 0)
	le.PutUint32(raw[16:], crc32.ChecksumIEEE(raw[:length]))
	return raw
}

// protectiveFor makes a protective entry cover the whole disk again. Other
// entries (a hybrid MBR) stay as they are.
func protectiveFor(mbr []byte, last uint64) []byte {
	le := binary.LittleEndian
	for i := range 4 {
		e := mbr[446+16*i:][:16]
		if e[4] == 0xee && le.Uint32(e[8:]) == 1 {
			le.PutUint32(e[12:], uint32(min(last, 0xffffffff)))
		}
	}
	return mbr
}

func growMBR(d Disk, size int64, number int, mbr []byte) (int64, bool, error) {
	le := binary.LittleEndian
	if number < 1 || number > 4 {
		return 0, false, fmt.Errorf("%w: %d is a logical partition", ErrCannotGrow, number)
	}
	entries := mbrEntries(mbr)
	e := entries[number-1]
	if !e.used() || e.extended() {
		return 0, false, fmt.Errorf("%w: %d is no primary partition", ErrCannotGrow, number)
	}
	for i, other := range entries {
		if other.used() && other.start > e.start {
			return 0, false, fmt.Errorf("%w: partition %d lies behind partition %d", ErrCannotGrow, i+1, number)
		}
	}
	const align = growAlign / mbrSector
	end := min(uint64(size/mbrSector), uint64(e.start)+0xffffffff, 0xffffffff) / align * align
	old := uint64(e.start) + uint64(e.count)
	if end < old+align {
		return int64(e.count) * mbrSector, false, nil
	}
	raw := mbr[446+16*(number-1):]
	copy(raw[5:8], []byte{0xfe, 0xff, 0xff}) // cylinder, head, sector: beyond what they can say
	le.PutUint32(raw[12:], uint32(end-uint64(e.start)))
	w := &orderedWriter{d: d}
	w.at(mbr, 0)
	w.sync()
	return int64(end-uint64(e.start)) * mbrSector, true, w.err
}

// orderedWriter writes pieces in order and stops at the first error.
type orderedWriter struct {
	d   Disk
	err error
}

func (w *orderedWriter) at(data []byte, off int64) {
	if w.err != nil {
		return
	}
	if _, err := w.d.WriteAt(data, off); err != nil {
		w.err = fmt.Errorf("write partition table at offset %d: %w", off, err)
	}
}

func (w *orderedWriter) sync() {
	if s, ok := w.d.(interface{ Sync() error }); ok && w.err == nil {
		if err := s.Sync(); err != nil {
			w.err = fmt.Errorf("sync partition table: %w", err)
		}
	}
}
