// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Offsets in an inode.
const (
	inMode        = 0x00
	inUID         = 0x02
	inAccessed    = 0x08
	inChanged     = 0x0c
	inModified    = 0x10
	inGID         = 0x18
	inLinks       = 0x1a
	inGeneration  = 0x64
	inUIDHigh     = 0x78
	inGIDHigh     = 0x7a
	inChecksumLow = 0x7c
	inExtraSize   = 0x80
	inChecksumHi  = 0x82
	inChangedNs   = 0x84
	inModifiedNs  = 0x88
	inAccessedNs  = 0x8c
	inMade        = 0x90
	inMadeNs      = 0x94

	oldInode  = 128
	rootInode = 2
)

// Offsets in a group descriptor.
const (
	gdTableLow  = 0x08
	gdFlags     = 0x12
	gdTableHigh = 0x28

	groupUnused = 1 // its inodes were never written
)

// ReadWriter is where a file system lies.
type ReadWriter interface {
	io.ReaderAt
	io.WriterAt
}

// Root is what mke2fs does not copy: the attributes of the root directory.
type Root struct {
	Mode     uint32 // permission bits, with those of setuid, setgid and sticky
	UID, GID uint32
	Modified time.Time
}

// Settle finishes a file system that mke2fs has just filled: no time is later
// than date; times of access, change and birth are date; the root directory is
// as root says; and what mke2fs was not told is as in like, the superblock of the
// file system that this is a copy of.
func Settle(rw ReadWriter, date time.Time, root Root, like Super) error {
	s, err := ReadSuper(rw)
	if err != nil {
		return err
	}
	if s.u32(sbIncompat)&incompatMetaBG != 0 {
		return fmt.Errorf("%w: its group descriptors are spread (meta_bg)", ErrUnfit)
	}
	if err := s.inodes(rw, func(number uint32, inode []byte) bool {
		return s.settleInode(number, inode, uint32(date.Unix()), root)
	}); err != nil {
		return err
	}
	s.settleSuper(uint32(date.Unix()), like)
	_, err = rw.WriteAt(s.raw, superAt)
	return err
}

// inodes lets change see every inode that was ever written, and writes those
// back that it changed.
func (s Super) inodes(rw ReadWriter, change func(number uint32, inode []byte) bool) error {
	descSize := int64(32)
	if s.u32(sbIncompat)&incompat64bit != 0 {
		descSize = max(int64(s.u16(sbDescSize)), 64)
	}
	perGroup, size := s.u32(sbInodesPerGroup), s.InodeSize()
	groups := (s.Blocks() - int64(s.u32(sbFirstData)) + int64(s.u32(sbBlocksPerGroup)) - 1) / int64(s.u32(sbBlocksPerGroup))
	if groups*int64(perGroup) > 1<<32 {
		return fmt.Errorf("%w: its superblock makes no sense", ErrUnfit)
	}
	desc := make([]byte, descSize)
	table := make([]byte, int64(perGroup)*size)
	for g := range groups {
		if _, err := rw.ReadAt(desc, (int64(s.u32(sbFirstData))+1)*s.BlockSize()+g*descSize); err != nil {
			return fmt.Errorf("read group %d: %w", g, err)
		}
		if binary.LittleEndian.Uint16(desc[gdFlags:])&groupUnused != 0 {
			continue
		}
		at := int64(binary.LittleEndian.Uint32(desc[gdTableLow:]))
		if descSize >= 64 {
			at |= int64(binary.LittleEndian.Uint32(desc[gdTableHigh:])) << 32
		}
		at *= s.BlockSize()
		if _, err := rw.ReadAt(table, at); err != nil {
			return fmt.Errorf("read the inodes of group %d: %w", g, err)
		}
		for i := range perGroup {
			inode := table[int64(i)*size : int64(i+1)*size]
			if !change(uint32(g)*perGroup+i+1, inode) {
				continue
			}
			if _, err := rw.WriteAt(inode, at+int64(i)*size); err != nil {
				return fmt.Errorf("write an inode of group %d: %w", g, err)
			}
		}
	}
	return nil
}

// settleInode sets the times of an inode that is in use, and its checksum.
func (s Super) settleInode(number uint32, inode []byte, date uint32, root Root) bool {
	le := binary.LittleEndian
	if le.Uint16(inode[inLinks:]) == 0 && le.Uint16(inode[inMode:]) == 0 {
		return false
	}
	extra := 0
	if len(inode) > oldInode {
		extra = oldInode + int(le.Uint16(inode[inExtraSize:]))
	}
	if number == rootInode {
		le.PutUint16(inode[inMode:], le.Uint16(inode[inMode:])&0xf000|uint16(root.Mode&0o7777))
		le.PutUint16(inode[inUID:], uint16(root.UID))
		le.PutUint16(inode[inUIDHigh:], uint16(root.UID>>16))
		le.PutUint16(inode[inGID:], uint16(root.GID))
		le.PutUint16(inode[inGIDHigh:], uint16(root.GID>>16))
		le.PutUint32(inode[inModified:], uint32(root.Modified.Unix()))
		if extra >= inModifiedNs+4 {
			le.PutUint32(inode[inModifiedNs:], 0)
		}
	}
	// Times before 1901 and after 2038 need bits of the extra words; they are rare
	// enough to be cut to the date as well.
	if m := le.Uint32(inode[inModified:]); m > date || extra >= inModifiedNs+4 && le.Uint32(inode[inModifiedNs:])&3 != 0 {
		le.PutUint32(inode[inModified:], date)
		if extra >= inModifiedNs+4 {
			le.PutUint32(inode[inModifiedNs:], 0)
		}
	}
	for _, at := range []int{inAccessed, inChanged} {
		le.PutUint32(inode[at:], date)
	}
	for _, at := range []int{inChangedNs, inAccessedNs, inMade, inMadeNs} {
		if extra >= at+4 {
			value := uint32(0)
			if at == inMade {
				value = date
			}
			le.PutUint32(inode[at:], value)
		}
	}
	s.sign(number, inode, extra)
	return true
}

// sign gives an inode its checksum.
func (s Super) sign(number uint32, inode []byte, extra int) {
	if !s.checksums() {
		return
	}
	le := binary.LittleEndian
	high := extra >= inChecksumHi+2
	le.PutUint16(inode[inChecksumLow:], 0)
	if high {
		le.PutUint16(inode[inChecksumHi:], 0)
	}
	sum := crc(s.seed(), le.AppendUint32(nil, number))
	sum = crc(sum, inode[inGeneration:inGeneration+4])
	sum = crc(sum, inode)
	le.PutUint16(inode[inChecksumLow:], uint16(sum))
	if high {
		le.PutUint16(inode[inChecksumHi:], uint16(sum>>16))
	}
}

// settleSuper sets the times of the superblock, and what like has.
func (s Super) settleSuper(date uint32, like Super) {
	le := binary.LittleEndian
	for _, at := range []int{sbWritten, sbChecked, sbMade} {
		le.PutUint32(s.raw[at:], date)
	}
	le.PutUint32(s.raw[sbMounted:], 0)
	le.PutUint16(s.raw[sbMounts:], 0)
	clear(s.raw[sbLastMounted : sbLastMounted+64])
	clear(s.raw[sbKBytesWritten : sbKBytesWritten+8])
	clear(s.raw[sbTimesHigh : sbTimesHigh+4])
	for _, f := range []struct{ at, size int }{
		{sbReservedLow, 4}, {sbReservedHigh, 4}, {sbMaxMounts, 2}, {sbErrors, 2}, {sbCheckInterval, 4}, {sbReservedUID, 2}, {sbReservedGID, 2},
		{sbMountOpts, 4}, {sbMountOptions, 64},
	} {
		copy(s.raw[f.at:f.at+f.size], like.raw[f.at:f.at+f.size])
	}
	if s.checksums() {
		le.PutUint32(s.raw[sbChecksum:], crc(^uint32(0), s.raw[:sbChecksum]))
	}
}
