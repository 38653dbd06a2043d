// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ext4 makes an ext2, ext3 or ext4 file system anew: it reads from the
// superblock how mke2fs has to be called to make one alike, and gives all times
// in the result one value, so that equal trees make equal file systems.
// The layout is that of https://docs.kernel.org/filesystems/ext4/
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// ErrUnfit says that a file system has something that cannot be made anew.
var ErrUnfit = errors.New("the file system cannot be written anew")

// The superblock: where it is, and the offsets of its fields.
const (
	superAt   = 1024
	superSize = 1024

	sbInodes         = 0x00
	sbBlocksLow      = 0x04
	sbReservedLow    = 0x08
	sbFirstData      = 0x14
	sbLogBlock       = 0x18
	sbBlocksPerGroup = 0x20
	sbInodesPerGroup = 0x28
	sbMounted        = 0x2c // time
	sbWritten        = 0x30 // time
	sbMounts         = 0x34
	sbMaxMounts      = 0x36
	sbMagic          = 0x38
	sbErrors         = 0x3c
	sbChecked        = 0x40 // time
	sbCheckInterval  = 0x44
	sbReservedUID    = 0x50
	sbReservedGID    = 0x52
	sbInodeSize      = 0x58
	sbCompat         = 0x5c
	sbIncompat       = 0x60
	sbROCompat       = 0x64
	sbUUID           = 0x68
	sbLabel          = 0x78
	sbLastMounted    = 0x88
	sbHashSeed       = 0xec
	sbDescSize       = 0xfe
	sbMountOpts      = 0x100
	sbMade           = 0x108 // time
	sbJournalSize    = 0x10c + 16*4
	sbBlocksHigh     = 0x150
	sbReservedHigh   = 0x154
	sbLogFlex        = 0x174
	sbKBytesWritten  = 0x178
	sbMountOptions   = 0x200
	sbChecksumSeed   = 0x270
	sbTimesHigh      = 0x274
	sbChecksum       = 0x3fc

	magic = 0xef53
)

// Features that matter here.
const (
	incompat64bit     = 0x80
	incompatMetaBG    = 0x10
	incompatCsumSeed  = 0x2000
	roMetadataCsum    = 0x400
	incompatRecover   = 0x4
	roOrphanPresent   = 0x10000
	bitsOfTheMoment   = incompatRecover
	roBitsOfTheMoment = roOrphanPresent
)

// feature is a bit of one of the three words, with mke2fs's name for it.
type feature struct {
	word int // offset in the superblock
	bit  uint32
	name string
}

// features are those that mke2fs can make again, empty or from a directory.
func features() []feature {
	return []feature{
		{sbCompat, 0x4, "has_journal"}, {sbCompat, 0x8, "ext_attr"}, {sbCompat, 0x10, "resize_inode"}, {sbCompat, 0x20, "dir_index"}, {sbCompat, 0x1000, "orphan_file"},
		{sbIncompat, 0x2, "filetype"}, {sbIncompat, 0x40, "extent"}, {sbIncompat, incompat64bit, "64bit"}, {sbIncompat, 0x200, "flex_bg"},
		{sbIncompat, incompatCsumSeed, "metadata_csum_seed"}, {sbIncompat, 0x4000, "large_dir"}, {sbIncompat, 0x400, "ea_inode"},
		{sbROCompat, 0x1, "sparse_super"}, {sbROCompat, 0x2, "large_file"}, {sbROCompat, 0x8, "huge_file"}, {sbROCompat, 0x10, "uninit_bg"},
		{sbROCompat, 0x20, "dir_nlink"}, {sbROCompat, 0x40, "extra_isize"}, {sbROCompat, roMetadataCsum, "metadata_csum"},
	}
}

// Super is a superblock.
type Super struct{ raw []byte }

func (s Super) u16(at int) uint16 { return binary.LittleEndian.Uint16(s.raw[at:]) }
func (s Super) u32(at int) uint32 { return binary.LittleEndian.Uint32(s.raw[at:]) }

// ReadSuper reads the superblock of the file system that begins at the start of
// r.
func ReadSuper(r io.ReaderAt) (Super, error) {
	s := Super{make([]byte, superSize)}
	if _, err := r.ReadAt(s.raw, superAt); err != nil {
		return s, fmt.Errorf("read the superblock: %w", err)
	}
	switch {
	case s.u16(sbMagic) != magic:
		return s, fmt.Errorf("%w: it is no ext4", ErrUnfit)
	case s.u32(sbLogBlock) > 6, s.InodeSize() < 128, s.InodeSize() > 4096, s.Blocks() < 8,
		s.u32(sbInodesPerGroup) == 0, int64(s.u32(sbInodesPerGroup)) > 8*s.BlockSize(), // their bitmap is a block
		s.u32(sbBlocksPerGroup) == 0:
		return s, fmt.Errorf("%w: its superblock makes no sense", ErrUnfit)
	}
	return s, nil
}

// BlockSize is in bytes.
func (s Super) BlockSize() int64 { return 1024 << min(s.u32(sbLogBlock), 6) }

// InodeSize is in bytes.
func (s Super) InodeSize() int64 { return int64(s.u16(sbInodeSize)) }

// Blocks is how many there are.
func (s Super) Blocks() int64 { return s.wide(sbBlocksLow, sbBlocksHigh) }

func (s Super) wide(low, high int) int64 {
	n := int64(s.u32(low))
	if s.u32(sbIncompat)&incompat64bit != 0 {
		n |= int64(s.u32(high)) << 32
	}
	return n
}

func (s Super) checksums() bool { return s.u32(sbROCompat)&roMetadataCsum != 0 }

// Features returns mke2fs's names of the features; one that has no name here, or
// cannot be made again, is an error.
func (s Super) Features() ([]string, error) {
	left := map[int]uint32{
		sbCompat: s.u32(sbCompat), sbIncompat: s.u32(sbIncompat) &^ bitsOfTheMoment, sbROCompat: s.u32(sbROCompat) &^ roBitsOfTheMoment,
	}
	var names []string
	for _, f := range features() {
		if left[f.word]&f.bit != 0 {
			names = append(names, f.name)
			left[f.word] &^= f.bit
		}
	}
	for word, bits := range left {
		if bits != 0 {
			return nil, fmt.Errorf("%w: it has features that mke2fs does not fill from a directory (word %#x, bits %#x)", ErrUnfit, word, bits)
		}
	}
	if slices.Contains(names, "metadata_csum") { // it stands for uninit_bg as well
		names = slices.DeleteFunc(names, func(n string) bool { return n == "uninit_bg" })
	}
	return names, nil
}

// Arguments are what mke2fs needs to make a file system alike, without the
// device; the rest is done by Settle.
func (s Super) Arguments() ([]string, error) {
	names, err := s.Features()
	if err != nil {
		return nil, err
	}
	id, err := uuid.FromBytes(s.raw[sbUUID : sbUUID+16])
	if err != nil {
		return nil, err
	}
	seed, err := uuid.FromBytes(s.raw[sbHashSeed : sbHashSeed+16])
	if err != nil {
		return nil, err
	}
	args := []string{
		"-q", "-F", "-b", fmt.Sprint(s.BlockSize()), "-I", fmt.Sprint(s.InodeSize()), "-N", fmt.Sprint(s.u32(sbInodes)), "-m", "0",
		"-O", "none," + strings.Join(names, ","), "-U", id.String(),
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0,hash_seed=" + seed.String(),
	}
	if label := strings.TrimRight(string(s.raw[sbLabel:sbLabel+16]), "\x00"); label != "" {
		args = append(args, "-L", label)
	}
	if flex := s.raw[sbLogFlex]; flex > 0 && flex < 31 && slices.Contains(names, "flex_bg") {
		args = append(args, "-G", fmt.Sprint(1<<flex))
	}
	if mib := s.u32(sbJournalSize) >> 20; mib > 0 && slices.Contains(names, "has_journal") {
		args = append(args, "-J", fmt.Sprintf("size=%d", mib))
	}
	return args, nil
}

// raw CRC-32C, as the kernel computes it: without the inversions of Go's.
func crc(sum uint32, data []byte) uint32 {
	return ^crc32.Update(^sum, crc32.MakeTable(crc32.Castagnoli), data)
}

// seed is what all checksums of metadata begin with.
func (s Super) seed() uint32 {
	if s.u32(sbIncompat)&incompatCsumSeed != 0 {
		return s.u32(sbChecksumSeed)
	}
	return crc(^uint32(0), s.raw[sbUUID:sbUUID+16])
}
