// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package early

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
)

// grower grows the root in three steps that are each done only if needed, so
// that it goes on where it was killed: the table, the kernel's view, the file
// system.
type grower struct {
	Options

	// tellKernel makes the kernel see a partition's new size.
	tellKernel func(disk *os.File, number int, start, size int64) error
}

func newGrower(o Options) grower { return grower{o, resizePartition} }

func (g grower) grow(ctx context.Context) (changed, notes []string, err error) {
	d, err := findRoot(g.Root)
	if err != nil {
		if errors.Is(err, errNotGrowable) {
			return nil, []string{err.Error()}, nil
		}
		return nil, nil, err
	}
	if d.disk != "" {
		grown, err := g.partition(&d)
		if errors.Is(err, parttable.ErrCannotGrow) {
			return nil, []string{err.Error()}, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("grow partition %s: %w", d.device, err)
		}
		if grown {
			changed = append(changed, fmt.Sprintf("partition %s has %d MiB now", d.device, d.size>>20))
		}
	}
	done, note, err := g.fileSystem(ctx, d)
	if err != nil {
		return changed, nil, fmt.Errorf("grow file system on %s: %w", d.device, err)
	}
	if done {
		changed = append(changed, "file system on "+d.device+" grown")
	}
	if note != "" {
		notes = append(notes, note)
	}
	return changed, notes, nil
}

// partition grows the entry in the table, then tells the kernel.
func (g grower) partition(d *rootDevice) (grown bool, err error) {
	disk, err := os.OpenFile(d.disk, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	size, changed, err := parttable.Grow(disk, d.diskSize, d.number)
	if err != nil {
		return false, err
	}
	if changed {
		g.Log.Info("partition table written", "disk", d.disk, "partition", d.number, "bytes", size)
	}
	if size <= d.size {
		return false, nil
	}
	if err := g.tellKernel(disk, d.number, d.start, size); err != nil {
		return false, fmt.Errorf("tell the kernel (a reboot does it too): %w", err)
	}
	d.size = size
	return true, nil
}

// resizePartition is the ioctl that works while the partition is in use.
func resizePartition(disk *os.File, number int, start, size int64) error {
	p := unix.BlkpgPartition{Start: start, Length: size, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(&p)
	if errno != 0 {
		return fmt.Errorf("ioctl BLKPG_RESIZE_PARTITION: %w", errno)
	}
	return nil
}

// fileSystem grows the file system if it is smaller than its device.
func (g grower) fileSystem(ctx context.Context, d rootDevice) (done bool, note string, err error) {
	have, err := fsSize(d.fsType, d.device)
	if err != nil {
		if errors.Is(err, errNotGrowable) {
			return false, err.Error(), nil
		}
		return false, "", err
	}
	if have+minGrowth > d.size {
		return false, "", nil
	}
	tool, args := "resize2fs", []string{d.device}
	if d.fsType == "xfs" {
		tool, args = "xfs_growfs", []string{"/"}
	}
	if !fileExists(g.Root, "usr/sbin/"+tool, "sbin/"+tool, "usr/bin/"+tool) {
		return false, "the file system could grow, but " + tool + " is not installed", nil
	}
	if _, err := g.Run.Run(ctx, tool, args...); err != nil {
		return false, "", err
	}
	return true, "", nil
}

// minGrowth is the least that is worth growing a file system for.
const minGrowth = 1 << 20

// fsSize reads the size of a file system from its superblock.
func fsSize(fsType, device string) (int64, error) {
	var off int64
	switch fsType {
	case "ext2", "ext3", "ext4":
		off = 1024
	case "xfs":
	default:
		return 0, fmt.Errorf("%w: file system %s is not known here", errNotGrowable, fsType)
	}
	f, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	sb := make([]byte, 512)
	if _, err := f.ReadAt(sb, off); err != nil {
		return 0, err
	}
	if fsType == "xfs" {
		if string(sb[:4]) != "XFSB" {
			return 0, fmt.Errorf("%w: no xfs superblock on %s", errNotGrowable, device)
		}
		return product(binary.BigEndian.Uint64(sb[8:]), binary.BigEndian.Uint32(sb[4:])), nil
	}
	le := binary.LittleEndian
	if le.Uint16(sb[0x38:]) != 0xef53 {
		return 0, fmt.Errorf("%w: no ext superblock on %s", errNotGrowable, device)
	}
	blocks := uint64(le.Uint32(sb[4:]))
	if le.Uint32(sb[0x60:])&0x80 != 0 { // 64bit
		blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	return product(blocks, 1024<<min(le.Uint32(sb[0x18:]), 6)), nil
}

// product multiplies without overflow; what is too big is surely big enough.
func product(blocks uint64, size uint32) int64 {
	const most = 1 << 62
	if size != 0 && blocks > most/uint64(size) {
		return most
	}
	return int64(blocks * uint64(size))
}
