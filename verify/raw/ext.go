// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package raw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// Offsets and bits of the ext superblock and its groups, from the kernel's
// fs/ext4/ext4.h.
const (
	extSuper       = 1024
	extMagic       = 0xef53
	extValid       = 1
	extError       = 2
	ext64bit       = 0x80
	extSparseSuper = 0x1
	extMetaBG      = 0x10
	extBlockUninit = 0x2
	extExtents     = 0x80000 // flag of an inode
	extJournal     = 8       // number of the journal's inode
)

// ext is an ext2, ext3 or ext4 file system, as far as blocks go.
type ext struct {
	r            io.ReaderAt
	start        int64
	block        int64
	first        int64 // number of the first block of group 0
	blocks, free int64
	perGroup     int64
	groups       []extGroup
	descriptors  int64 // blocks of group descriptors, reserved ones included
	sparse       bool
	state        uint16
	journal      []span // blocks, sorted
}

type extGroup struct {
	uninit bool
	bitmap []byte
}

// span is a stretch of blocks.
type span struct{ from, to int64 }

// openExt reads the superblock, the bitmaps of blocks and where the journal is.
func openExt(r io.ReaderAt, start, size int64) (*ext, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, start+extSuper); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	shift := le.Uint32(sb[24:])
	e := &ext{r: r, start: start, state: le.Uint16(sb[58:])}
	if le.Uint16(sb[56:]) != extMagic || shift > 6 {
		return nil, errors.New("its superblock is damaged")
	}
	incompat := le.Uint32(sb[96:])
	e.block = 1024 << shift
	e.blocks, e.free = int64(le.Uint32(sb[4:])), int64(le.Uint32(sb[12:]))
	e.first, e.perGroup = int64(le.Uint32(sb[20:])), int64(le.Uint32(sb[32:]))
	e.sparse = le.Uint32(sb[100:])&extSparseSuper != 0
	descriptor := int64(32)
	if incompat&ext64bit != 0 {
		e.blocks |= int64(le.Uint32(sb[336:])) << 32
		e.free |= int64(le.Uint32(sb[344:])) << 32
		descriptor = max(int64(le.Uint16(sb[254:])), 32)
	}
	switch {
	case e.perGroup <= 0 || e.perGroup > e.block*8 || e.blocks <= 0 || e.blocks*e.block > size:
		return nil, errors.New("its superblock is damaged: it is larger than its partition")
	case incompat&extMetaBG != 0:
		return nil, errors.New("its group descriptors are in groups (meta_bg), which cannot be read here")
	}
	count := (e.blocks - e.first + e.perGroup - 1) / e.perGroup
	e.descriptors = (count*descriptor+e.block-1)/e.block + int64(le.Uint16(sb[206:]))
	table := make([]byte, count*descriptor)
	if _, err := r.ReadAt(table, start+(e.first+1)*e.block); err != nil {
		return nil, err
	}
	for g := range count {
		if err := e.readGroup(table[g*descriptor:(g+1)*descriptor], incompat); err != nil {
			return nil, fmt.Errorf("group %d: %w", g, err)
		}
	}
	return e, e.findJournal(sb, table, descriptor)
}

func (e *ext) readGroup(d []byte, incompat uint32) error {
	le := binary.LittleEndian
	at := int64(le.Uint32(d))
	if incompat&ext64bit != 0 && len(d) >= 64 {
		at |= int64(le.Uint32(d[32:])) << 32
	}
	g := extGroup{uninit: le.Uint16(d[18:])&extBlockUninit != 0}
	if !g.uninit {
		if at <= 0 || at >= e.blocks {
			return errors.New("its bitmap is outside of the file system")
		}
		g.bitmap = make([]byte, (e.perGroup+7)/8)
		if _, err := e.r.ReadAt(g.bitmap, e.start+at*e.block); err != nil {
			return err
		}
	}
	e.groups = append(e.groups, g)
	return nil
}

// findJournal reads the inode of the journal and its extents.
func (e *ext) findJournal(sb, table []byte, descriptor int64) error {
	le := binary.LittleEndian
	if le.Uint32(sb[92:])&4 == 0 || le.Uint32(sb[224:]) != extJournal {
		return nil // there is none, or it is on another device
	}
	inodes := int64(le.Uint32(table[8:]))
	if descriptor >= 64 {
		inodes |= int64(le.Uint32(table[40:])) << 32
	}
	size := int64(le.Uint16(sb[88:]))
	if size < 128 || inodes <= 0 || inodes >= e.blocks {
		return nil
	}
	inode := make([]byte, 128)
	if _, err := e.r.ReadAt(inode, e.start+inodes*e.block+(extJournal-1)*size); err != nil {
		return err
	}
	if le.Uint32(inode[32:])&extExtents != 0 {
		e.extents(inode[40:100], 0)
	} else {
		e.mapped(inode[40:100])
	}
	sort.Slice(e.journal, func(i, j int) bool { return e.journal[i].from < e.journal[j].from })
	return nil
}

// extents reads a node of a tree of extents. Damaged nodes end it.
func (e *ext) extents(node []byte, depth int) {
	le := binary.LittleEndian
	if len(node) < 12 || le.Uint16(node) != 0xf30a || depth > 5 {
		return
	}
	count, level := int(le.Uint16(node[2:])), le.Uint16(node[6:])
	for i := range count {
		entry := node[12+12*i:]
		if len(entry) < 12 {
			return
		}
		if level == 0 {
			from := int64(le.Uint16(entry[6:]))<<32 | int64(le.Uint32(entry[8:]))
			length := int64(le.Uint16(entry[4:]) & 0x7fff)
			e.journal = append(e.journal, span{from, from + length})
			continue
		}
		at := int64(le.Uint16(entry[8:]))<<32 | int64(le.Uint32(entry[4:]))
		below := make([]byte, e.block)
		if at <= 0 || at >= e.blocks {
			return
		}
		if _, err := e.r.ReadAt(below, e.start+at*e.block); err != nil {
			return
		}
		e.extents(below, depth+1)
	}
}

// mapped reads the block map of ext2 and ext3: 12 blocks, then indirect ones.
func (e *ext) mapped(list []byte) {
	le := binary.LittleEndian
	var add func(block int64, depth int)
	add = func(block int64, depth int) {
		if block <= 0 || block >= e.blocks {
			return
		}
		e.journal = append(e.journal, span{block, block + 1})
		if depth == 0 {
			return
		}
		node := make([]byte, e.block)
		if _, err := e.r.ReadAt(node, e.start+block*e.block); err != nil {
			return
		}
		for i := 0; i+4 <= len(node); i += 4 {
			add(int64(le.Uint32(node[i:])), depth-1)
		}
	}
	for i := range 15 {
		add(int64(le.Uint32(list[4*i:])), max(0, i-11))
	}
}

// use tells what the byte of the disk at off is for.
func (e *ext) use(off int64) use {
	block := (off - e.start) / e.block
	if block >= e.blocks {
		return free // behind the end of the file system
	}
	if block < e.first {
		return allocated
	}
	i, _ := slices.BinarySearchFunc(e.journal, block, func(s span, b int64) int {
		switch {
		case s.to <= b:
			return -1
		case s.from > b:
			return 1
		}
		return 0
	})
	if i < len(e.journal) && e.journal[i].from <= block && block < e.journal[i].to {
		return journal
	}
	group, in := (block-e.first)/e.perGroup, (block-e.first)%e.perGroup
	g := &e.groups[group]
	if g.uninit {
		if e.hasSuper(group) && in <= e.descriptors {
			return allocated
		}
		return free
	}
	if g.bitmap[in/8]&(1<<(in%8)) != 0 {
		return allocated
	}
	return free
}

// hasSuper reports whether a group begins with a copy of the superblock.
func (e *ext) hasSuper(group int64) bool {
	if group <= 1 || !e.sparse {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}
