// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package parttable

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxLogical bounds the chain of logical partitions, which a damaged disk can
// make endless. Linux itself stops at 256.
const maxLogical = 128

const mbrSector = 512

type mbrKind int

const (
	mbrAbsent     mbrKind = iota // no MBR: nothing, or the boot sector of a file system
	mbrPlain                     // a table of partitions
	mbrProtective                // a placeholder that points to a GPT
)

// mbrEntry is one of the four slots of an MBR or EBR.
type mbrEntry struct {
	flag, kind byte
	start      uint32
	count      uint32
}

func mbrEntries(sector []byte) [4]mbrEntry {
	var out [4]mbrEntry
	for i := range out {
		e := sector[446+16*i:]
		out[i] = mbrEntry{
			flag: e[0], kind: e[4],
			start: binary.LittleEndian.Uint32(e[8:]),
			count: binary.LittleEndian.Uint32(e[12:]),
		}
	}
	return out
}

func (e mbrEntry) used() bool { return e.kind != 0 && e.count != 0 }

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

// classify tells a partition table from the boot sector of a file system, which
// carries the same signature: there, the bytes of the table are code or text.
func classify(sector []byte) mbrKind {
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return mbrAbsent
	}
	if string(sector[54:57]) == "FAT" || string(sector[82:85]) == "FAT" || string(sector[3:7]) == "NTFS" {
		return mbrAbsent
	}
	kind := mbrAbsent
	for _, e := range mbrEntries(sector) {
		if e.flag != 0 && e.flag != 0x80 {
			return mbrAbsent
		}
		if !e.used() {
			continue
		}
		if e.kind == 0xee {
			return mbrProtective
		}
		if e.start == 0 {
			return mbrAbsent
		}
		kind = mbrPlain
	}
	return kind
}

func readMBR(r io.ReaderAt, size int64, sector []byte) (Table, error) {
	t := Table{Scheme: MBR, SectorSize: mbrSector}
	disk := binary.LittleEndian.Uint32(sector[440:])
	for i, e := range mbrEntries(sector) {
		if !e.used() {
			continue
		}
		p, err := within(i+1, uint64(e.start), uint64(e.count), mbrSector, size)
		if err != nil {
			return Table{}, err
		}
		p.Type, p.UUID = fmt.Sprintf("%02x", e.kind), partUUID(disk, p.Number)
		t.Partitions = append(t.Partitions, p)
	}
	for _, p := range t.Partitions {
		if !p.Extended() {
			continue
		}
		logical, err := readLogical(r, size, p, disk)
		if err != nil {
			return Table{}, err
		}
		t.Partitions = append(t.Partitions, logical...)
		break // a disk has one extended partition; a second one is ignored
	}
	return t, nil
}

// readLogical follows the chain of extended boot records. Each holds one
// logical partition, relative to itself, and a link, relative to the container.
func readLogical(r io.ReaderAt, size int64, container Partition, disk uint32) ([]Partition, error) {
	base := uint64(container.Start / mbrSector)
	var out []Partition
	next := base
	seen := map[uint64]bool{}
	for range maxLogical {
		if seen[next] || next >= uint64(size/mbrSector) {
			return nil, fmt.Errorf("%w: the chain of logical partitions leads to sector %d", ErrDamaged, next)
		}
		seen[next] = true
		sector, err := readAt(r, int64(next)*mbrSector, mbrSector)
		if err != nil {
			return nil, err
		}
		if sector[510] != 0x55 || sector[511] != 0xaa {
			return out, nil
		}
		entries := mbrEntries(sector)
		if e := entries[0]; e.used() && !e.extended() {
			number := 5 + len(out)
			p, err := within(number, next+uint64(e.start), uint64(e.count), mbrSector, size)
			if err != nil {
				return nil, err
			}
			p.Type, p.UUID = fmt.Sprintf("%02x", e.kind), partUUID(disk, number)
			out = append(out, p)
		}
		if link := entries[1]; link.used() && link.extended() {
			next = base + uint64(link.start)
			continue
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: more than %d logical partitions", ErrDamaged, maxLogical)
}

func partUUID(disk uint32, number int) string { return fmt.Sprintf("%08x-%02x", disk, number) }
