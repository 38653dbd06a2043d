// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package raw

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"
)

// xfsBlocks reads which blocks of an XFS file system are free: each allocation
// group has a tree of them, sorted by block.
func xfsBlocks(r io.ReaderAt, start, size int64) (func(off int64) use, error) {
	be := binary.BigEndian
	sb := make([]byte, 512)
	if _, err := r.ReadAt(sb, start); err != nil {
		return nil, err
	}
	x := &xfs{r: r, start: start, block: int64(be.Uint32(sb[4:])), perGroup: int64(be.Uint32(sb[84:])), sector: int64(be.Uint16(sb[102:]))}
	groups := int64(be.Uint32(sb[88:]))
	if string(sb[:4]) != "XFSB" || x.block < 512 || x.block > 65536 || x.sector < 512 || x.perGroup <= 0 || groups <= 0 || (groups-1)*x.perGroup*x.block >= size {
		return nil, errors.New("its superblock is damaged")
	}
	x.logStart = int64(be.Uint64(sb[48:]))
	x.logBlocks = int64(be.Uint32(sb[96:]))
	agBits := sb[124]
	if x.logStart != 0 {
		x.logStart = x.logStart>>agBits*x.perGroup + x.logStart&(1<<agBits-1)
	}
	for g := range groups {
		if err := x.group(g); err != nil {
			return nil, err
		}
	}
	sort.Slice(x.free, func(i, j int) bool { return x.free[i].from < x.free[j].from })
	return x.use, nil
}

type xfs struct {
	r                   io.ReaderAt
	start               int64
	block, sector       int64
	perGroup            int64
	logStart, logBlocks int64
	free                []span
}

func (x *xfs) group(g int64) error {
	be := binary.BigEndian
	head := make([]byte, 64)
	if _, err := x.r.ReadAt(head, x.start+g*x.perGroup*x.block+x.sector); err != nil {
		return err
	}
	if string(head[:4]) != "XAGF" {
		return errors.New("the header of an allocation group is damaged")
	}
	return x.node(g, int64(be.Uint32(head[16:])), int(be.Uint32(head[28:])))
}

// node reads a node of the tree of free stretches.
func (x *xfs) node(g, at int64, levels int) error {
	be := binary.BigEndian
	if levels < 1 || levels > 9 || at <= 0 || at >= x.perGroup {
		return errors.New("the tree of free blocks is damaged")
	}
	b := make([]byte, x.block)
	if _, err := x.r.ReadAt(b, x.start+(g*x.perGroup+at)*x.block); err != nil {
		return err
	}
	header := int64(16)
	switch string(b[:4]) {
	case "ABTB":
	case "AB3B":
		header = 56
	default:
		return errors.New("the tree of free blocks is damaged")
	}
	count := int64(be.Uint16(b[6:]))
	if header+count*8 > x.block {
		return errors.New("the tree of free blocks is damaged")
	}
	if be.Uint16(b[4:]) == 0 {
		for i := range count {
			from := g*x.perGroup + int64(be.Uint32(b[header+8*i:]))
			x.free = append(x.free, span{from, from + int64(be.Uint32(b[header+8*i+4:]))})
		}
		return nil
	}
	pointers := header + (x.block-header)/12*8 // behind room for all keys
	for i := range count {
		if pointers+4*i+4 > x.block {
			break
		}
		if err := x.node(g, int64(be.Uint32(b[pointers+4*i:])), levels-1); err != nil {
			return err
		}
	}
	return nil
}

func (x *xfs) use(off int64) use {
	block := (off - x.start) / x.block
	if x.logStart > 0 && block >= x.logStart && block < x.logStart+x.logBlocks {
		return journal
	}
	i := sort.Search(len(x.free), func(i int) bool { return x.free[i].to > block })
	if i < len(x.free) && x.free[i].from <= block {
		return free
	}
	return allocated
}
