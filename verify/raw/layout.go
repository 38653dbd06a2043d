// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package raw

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/verify"
)

// Types of GPT partitions.
const (
	espType  = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	biosType = "21686148-6449-6e6f-744e-656564454649"
)

// layout judges the partition table and divides the disk into areas.
func (s *scan) layout() {
	table, all, err := s.partitions()
	if err != nil {
		s.tell("fs-size-layout", verify.Blocker, "", "%v", err)
		s.areas = []area{{start: 0, end: s.disk.Size(), what: "the disk"}}
		return
	}
	s.judgeTable(table)
	parts := slices.Clone(all)
	slices.SortFunc(parts, func(a, b rootfs.Candidate) int { return cmp.Compare(a.Start, b.Start) })
	end := int64(0)
	before := "the beginning of the disk"
	for _, p := range parts {
		name := fmt.Sprintf("partition %d", p.Number)
		if p.Number == 0 {
			name = "the disk"
		}
		if p.Start < end {
			s.tell("fs-size-layout", verify.Blocker, name, "it overlaps %s", before)
			continue
		}
		if p.Start > end {
			s.areas = append(s.areas, area{start: end, end: p.Start, what: "the gap behind " + before})
		}
		a := area{start: p.Start, end: p.Start + p.Size, what: name, fs: p.FS}
		if p.FS.Type != "" {
			a.what += " (" + p.FS.Type + ")"
		}
		s.judgePartition(&a, p)
		s.areas = append(s.areas, a)
		end, before = a.end, name
	}
	if end < s.disk.Size() {
		s.areas = append(s.areas, area{start: end, end: s.disk.Size(), what: "the gap behind " + before})
	}
}

func (s *scan) judgeTable(table parttable.Table) {
	size := s.disk.Size()
	if size%sparse.GiB != 0 {
		s.tell("fs-size-layout", verify.Info, "", "the disk has %s; the volume gets whole GiB", rootfs.Bytes(size))
	}
	if table.Backup {
		s.tell("fs-size-layout", verify.Blocker, "", "the first copy of the partition table is damaged")
	}
	if table.Scheme == parttable.GPT {
		last := make([]byte, 8)
		if _, err := s.disk.ReadAt(last, size-table.SectorSize); err != nil || string(last) != "EFI PART" {
			s.tell("fs-size-layout", verify.Blocker, "", "the backup of the partition table is not in the last sector")
		}
	}
	if table.Scheme == parttable.None {
		return
	}
	code := make([]byte, 440)
	_, err := s.disk.ReadAt(code, 0)
	esp := slices.ContainsFunc(table.Partitions, func(p parttable.Partition) bool { return p.Type == espType || p.Type == "ef" })
	bios := slices.ContainsFunc(table.Partitions, func(p parttable.Partition) bool { return p.Type == biosType })
	switch {
	case err != nil || esp:
	case sparse.IsZero(code):
		s.tell("boot-firmware-path", verify.Blocker, "", "nothing boots: there is no boot code in the first sector, and no EFI system partition")
	case table.Scheme == parttable.GPT && !bios:
		s.tell("boot-firmware-path", verify.Warning, "", "there is boot code in the first sector, but no BIOS boot partition for the rest of it")
	}
}

// judgePartition judges what a superblock says, and finds out which blocks are
// free.
func (s *scan) judgePartition(a *area, p rootfs.Candidate) {
	if p.FS.Type == "" && s.hibernated(a) {
		s.tell("fs-swap-content", verify.Blocker, a.what, "holds a hibernated system")
	}
	switch p.FS.Type {
	case "crypto_LUKS":
		s.tell("fs-encrypted", verify.Blocker, a.what, "is encrypted")
	case "LVM2_member", "btrfs":
		s.skip("fs-deleted-data", a.what+": which of its blocks are free cannot be told; keys that packages ship are reported, too")
	case "swap":
		s.swap(a)
	case "xfs":
		if used, err := xfsBlocks(s.disk, a.start, p.Size); err == nil {
			a.used = used
		} else {
			s.skip("fs-deleted-data", a.what+": "+err.Error())
		}
	case "ext2", "ext3", "ext4":
		e, err := openExt(s.disk, a.start, p.Size)
		if err != nil {
			s.tell("fs-clean-state", verify.Blocker, a.what, "%v", err)
			return
		}
		a.used = e.use
		if e.state&extValid == 0 || e.state&extError != 0 {
			s.tell("fs-clean-state", verify.Blocker, a.what, "has errors, or was not unmounted")
		}
		if e.blocks > 0 && e.free*10 < e.blocks {
			s.tell("fs-size-layout", verify.Warning, a.what, "only %d %% of it is free", 100*e.free/e.blocks)
		}
	case "vfat":
		s.fat(a)
	}
	if p.FS.Dirty {
		s.tell("fs-clean-state", verify.Blocker, a.what, "was not unmounted: its journal has to be replayed")
	}
}

// fat reads the dirty flag, which is elsewhere in FAT32.
func (s *scan) fat(a *area) {
	head := make([]byte, 512)
	if _, err := s.disk.ReadAt(head, a.start); err != nil {
		return
	}
	flags := head[0x25]
	if string(head[82:85]) == "FAT" {
		flags = head[0x41]
	}
	if flags&1 != 0 {
		s.tell("fs-clean-state", verify.Blocker, a.what, "was not unmounted")
	}
}

// hibernated reports whether a swap area has the mark of a system that was
// suspended into it.
func (s *scan) hibernated(a *area) bool {
	tag := make([]byte, 10)
	if _, err := s.disk.ReadAt(tag, a.start+4086); err != nil {
		return false
	}
	return bytes.HasPrefix(tag, []byte("S1SUSPEND")) || bytes.HasPrefix(tag, []byte("S2SUSPEND")) || bytes.HasPrefix(tag, []byte("ULSUSPEND"))
}

// swap looks for pages in a swap area.
func (s *scan) swap(a *area) {
	used := int64(0)
	buf := make([]byte, s.disk.BlockSize())
	for index, err := range s.disk.Blocks() {
		start := index * s.disk.BlockSize()
		if err != nil || start >= a.end {
			break
		}
		if start+s.disk.BlockSize() <= a.start || s.disk.Read(index, buf) != nil {
			continue
		}
		from, to := max(a.start+4096, start), min(a.end, start+s.disk.BlockSize())
		for off := from; off < to; off += 4096 {
			if page := buf[off-start : min(off-start+4096, to-start)]; !sparse.IsZero(page) {
				used += int64(len(page))
			}
		}
	}
	if used > 0 {
		s.tell("fs-swap-content", verify.Blocker, a.what, "%d KiB of memory were swapped out into it", used>>10)
	}
}
