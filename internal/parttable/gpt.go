// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package parttable

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// Limits on what a GPT may say. UEFI asks for at least 128 entries of 128
// bytes; tools write up to 1024 entries, and nobody writes larger ones.
const (
	gptSignature  = "EFI PART"
	gptMinHeader  = 92
	gptMinEntry   = 128
	gptMaxEntry   = 4096
	gptMaxEntries = 1024
)

// gptHeader is the part of a GPT header that reading needs.
type gptHeader struct {
	entriesLBA uint64
	entries    uint32
	entrySize  uint32
	entriesCRC uint32
}

// readGPT looks for a GPT with sectors of 512 and 4096 bytes, each time in the
// primary place and then in the last sector.
func readGPT(r io.ReaderAt, size int64) (t Table, found bool, err error) {
	for _, sector := range []int64{512, 4096} {
		last := size/sector - 1
		if last < 2 {
			continue
		}
		for _, lba := range []int64{1, last} {
			h, ok, err := readHeader(r, lba, sector, size)
			if err != nil {
				return Table{}, false, err
			}
			if !ok {
				continue
			}
			raw, ok, err := readEntries(r, h, sector, size)
			if err != nil {
				return Table{}, false, err
			}
			if !ok {
				continue
			}
			t := Table{Scheme: GPT, SectorSize: sector, Backup: lba != 1}
			t.Partitions, err = gptPartitions(raw, h, sector, size)
			return t, err == nil, err
		}
	}
	return Table{}, false, nil
}

// readHeader reads one header; ok is false when there is none or its checksum
// is wrong.
func readHeader(r io.ReaderAt, lba, sector, size int64) (h gptHeader, ok bool, err error) {
	raw, err := readAt(r, lba*sector, int(sector))
	if err != nil {
		return h, false, err
	}
	le := binary.LittleEndian
	length := le.Uint32(raw[12:])
	if string(raw[:8]) != gptSignature || length < gptMinHeader || int64(length) > sector {
		return h, false, nil
	}
	sum := le.Uint32(raw[16:])
	copy(raw[16:20], []byte{0, 0, 0, 0})
	if crc32.ChecksumIEEE(raw[:length]) != sum || le.Uint64(raw[24:]) != uint64(lba) {
		return h, false, nil
	}
	h = gptHeader{
		entriesLBA: le.Uint64(raw[72:]),
		entries:    le.Uint32(raw[80:]),
		entrySize:  le.Uint32(raw[84:]),
		entriesCRC: le.Uint32(raw[88:]),
	}
	sane := h.entries > 0 && h.entries <= gptMaxEntries &&
		h.entrySize >= gptMinEntry && h.entrySize <= gptMaxEntry &&
		h.entriesLBA > 0 && h.entriesLBA < uint64(size/sector)
	return h, sane, nil
}

// readEntries reads the array of entries; ok is false when its checksum is
// wrong.
func readEntries(r io.ReaderAt, h gptHeader, sector, size int64) (raw []byte, ok bool, err error) {
	length := int(h.entries) * int(h.entrySize)
	off := int64(h.entriesLBA) * sector
	if off > size-int64(length) {
		return nil, false, nil
	}
	raw, err = readAt(r, off, length)
	if err != nil {
		return nil, false, err
	}
	return raw, crc32.ChecksumIEEE(raw) == h.entriesCRC, nil
}

func gptPartitions(raw []byte, h gptHeader, sector, size int64) ([]Partition, error) {
	le := binary.LittleEndian
	var out []Partition
	for i := range int(h.entries) {
		e := raw[i*int(h.entrySize):][:gptMinEntry]
		kind := guid(e[:16])
		if kind == "00000000-0000-0000-0000-000000000000" {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first == 0 || last < first {
			return nil, fmt.Errorf("%w: partition %d covers sectors %d to %d", ErrDamaged, i+1, first, last)
		}
		count := last - first + 1
		p, err := within(i+1, first, count, sector, size)
		if err != nil {
			return nil, err
		}
		p.Type, p.UUID, p.Name = kind, guid(e[16:32]), utf16Name(e[56:128])
		out = append(out, p)
	}
	return out, nil
}

// guid formats the mixed-endian GUID of a GPT.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Name(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return strings.ToValidUTF8(string(utf16.Decode(units)), "")
}
