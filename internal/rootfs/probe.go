// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package rootfs recognises file systems by their superblocks and ranks the
// partitions of a disk as candidates for the root file system. It only reads.
package rootfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// FS is what a superblock says about a partition.
type FS struct {
	// Type is a name as mount(8) uses it ("ext4", "xfs", "vfat"), or "swap",
	// "LVM2_member", "crypto_LUKS"; empty when nothing was recognised.
	Type  string
	Label string
	UUID  string
	// Size is the size in bytes that the file system believes it has; 0 when the
	// probe does not know it.
	Size int64
	// Dirty is true when the file system was not unmounted: its journal has to
	// be replayed before it is consistent.
	Dirty bool
}

// Supported reports whether the builder can customise a file system of that
// type.
func (f FS) Supported() bool {
	switch f.Type {
	case "ext2", "ext3", "ext4", "xfs":
		return true
	}
	return false
}

// probeLength covers every superblock below: btrfs has its own at 64 KiB.
const probeLength = 68 * 1024

// Probe reads the superblock of the partition that starts at off and is size
// bytes long. A partition without a known superblock is FS{}, not an error.
func Probe(r io.ReaderAt, off, size int64) (FS, error) {
	buf := make([]byte, min(max(size, 0), probeLength))
	n, err := r.ReadAt(buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return FS{}, fmt.Errorf("read superblock at offset %d: %w", off, err)
	}
	// Short partitions are padded, so that the checks need no length tests.
	head := make([]byte, probeLength)
	copy(head, buf[:n])
	for _, probe := range []func([]byte) (FS, bool){probeLUKS, probeLVM, probeXFS, probeExt, probeBtrfs, probeSwap, probeFAT} {
		if fs, ok := probe(head); ok {
			return fs, nil
		}
	}
	return FS{}, nil
}

func probeLUKS(b []byte) (FS, bool) {
	return FS{Type: "crypto_LUKS"}, bytes.HasPrefix(b, []byte("LUKS\xba\xbe"))
}

func probeLVM(b []byte) (FS, bool) {
	for sector := range 4 {
		if bytes.HasPrefix(b[sector*512:], []byte("LABELONE")) {
			return FS{Type: "LVM2_member"}, true
		}
	}
	return FS{}, false
}

func probeXFS(b []byte) (FS, bool) {
	if !bytes.HasPrefix(b, []byte("XFSB")) {
		return FS{}, false
	}
	be := binary.BigEndian
	block, blocks := int64(be.Uint32(b[4:])), be.Uint64(b[8:])
	fs := FS{Type: "xfs", UUID: uuid(b[32:48]), Label: text(b[108:120])}
	if block >= 512 && block <= 65536 && blocks < 1<<46 {
		fs.Size = block * int64(blocks)
	}
	return fs, true
}

// Offsets and bits of the ext superblock, from the kernel's fs/ext4/ext4.h.
const (
	extSuper         = 1024
	extMagic         = 0xef53
	extCompatJournal = 0x4
	extNeedsRecovery = 0x4
	// Any of these incompatible features makes it ext4: extents, 64-bit,
	// flexible block groups.
	extIncompatExt4 = 0x40 | 0x80 | 0x200
	ext64bit        = 0x80
)

func probeExt(b []byte) (FS, bool) {
	sb := b[extSuper:]
	le := binary.LittleEndian
	if le.Uint16(sb[56:]) != extMagic {
		return FS{}, false
	}
	compat, incompat := le.Uint32(sb[92:]), le.Uint32(sb[96:])
	fs := FS{Type: "ext2", UUID: uuid(sb[104:120]), Label: text(sb[120:136])}
	switch {
	case incompat&extIncompatExt4 != 0:
		fs.Type = "ext4"
	case compat&extCompatJournal != 0:
		fs.Type = "ext3"
	}
	fs.Dirty = incompat&extNeedsRecovery != 0
	blocks := uint64(le.Uint32(sb[4:]))
	if incompat&ext64bit != 0 {
		blocks |= uint64(le.Uint32(sb[336:])) << 32
	}
	if shift := le.Uint32(sb[24:]); shift <= 6 && blocks < 1<<46 {
		fs.Size = int64(blocks) << (10 + shift)
	}
	return fs, true
}

func probeBtrfs(b []byte) (FS, bool) {
	return FS{Type: "btrfs"}, bytes.HasPrefix(b[65536+64:], []byte("_BHRfS_M"))
}

func probeSwap(b []byte) (FS, bool) {
	return FS{Type: "swap"}, bytes.Equal(b[4086:4096], []byte("SWAPSPACE2"))
}

// probeFAT reads what mount(8) shows as the UUID: the serial number, which FAT32
// has elsewhere.
func probeFAT(b []byte) (FS, bool) {
	at := 39
	if string(b[82:85]) == "FAT" {
		at = 67
	}
	serial := binary.LittleEndian.Uint32(b[at:])
	fs := FS{Type: "vfat", UUID: fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff), Label: strings.TrimRight(text(b[at+4:at+15]), " ")}
	return fs, b[510] == 0x55 && b[511] == 0xaa && (string(b[54:57]) == "FAT" || string(b[82:85]) == "FAT")
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
