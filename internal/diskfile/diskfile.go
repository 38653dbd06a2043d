// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package diskfile knows the disk files that people bring: it recognises raw, qcow2
// and vmdk, refuses what only looks like one, and makes sparse raw copies.
package diskfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rightimage/packer-plugin-rightimage/internal/freespace"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Formats are the disk formats that can be read, the values of disk_format.
func Formats() []string { return []string{"raw", "qcow2", "vmdk"} }

// magics are the first bytes of files that people pass as disks. A format that
// is not in Formats has a remedy instead.
func magics() []struct{ magic, format, remedy string } {
	return []struct{ magic, format, remedy string }{
		{"QFI\xfb", "qcow2", ""},
		{"KDMV", "vmdk", ""},
		{"# Disk DescriptorFile", "", "a VMDK descriptor that refers to other files; convert it with qemu-img convert -O qcow2"},
		{"vhdxfile", "", "a VHDX disk; convert it with qemu-img convert -O qcow2"},
		{"conectix", "", "a VHD disk; convert it with qemu-img convert -O qcow2"},
		{"\x1f\x8b", "", "compressed with gzip; unpack it first"},
		{"\xfd7zXZ\x00", "", "compressed with xz; unpack it first"},
		{"\x28\xb5\x2f\xfd", "", "compressed with zstd; unpack it first"},
		{"BZh", "", "compressed with bzip2; unpack it first"},
		{"PK\x03\x04", "", "a zip archive; unpack it first"},
		{"!<arch>\n", "", "a package or archive, not a disk"},
		{"\x7fELF", "", "a program, not a disk"},
	}
}

// Detect recognises a disk by its first bytes. A want other than "" is
// what disk_format says and must agree with them.
func Detect(path, want string) (string, error) {
	head, err := readHead(path, 64<<10)
	if err != nil {
		return "", err
	}
	if len(head) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	found := "raw"
	for _, m := range magics() {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			if m.format == "" && want != "raw" {
				return "", fmt.Errorf("%s is %s", path, m.remedy)
			}
			found = m.format
		}
	}
	if len(head) > 32774 && string(head[32769:32774]) == "CD001" {
		return "", fmt.Errorf("%s is an ISO image (an installer or live system), not a disk", path)
	}
	// Saying raw is allowed for any content: a raw disk may hold anything.
	if want == "raw" {
		return want, nil
	}
	if want != "" && want != found {
		return "", fmt.Errorf("disk_format = %q, but %s is %s; correct it or leave it out", want, path, found)
	}
	return found, nil
}

func readHead(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, n))
}

// Info is what a raw copy of a disk will need.
type Info struct {
	Format string
	Size   int64 // bytes of the disk that the guest sees
	Needed int64 // bytes that the sparse copy will take
}

// Inspect reads the sizes of a disk. It refuses disks that refer to other
// files, since a downloaded one could pull files of this machine into the image.
func Inspect(ctx context.Context, r run.Runner, path, format string) (Info, error) {
	if format == "raw" {
		info, err := os.Stat(path)
		if err != nil {
			return Info{}, err
		}
		return Info{Format: format, Size: info.Size(), Needed: min(Allocated(info), info.Size())}, nil
	}
	out, err := r.Run(ctx, "qemu-img", "info", "--output=json", "-f", format, path)
	if err != nil {
		return Info{}, fmt.Errorf("%w (qemu-img comes with Debian's qemu-utils)", err)
	}
	var info struct {
		VirtualSize    int64  `json:"virtual-size"`
		ActualSize     int64  `json:"actual-size"`
		Backing        string `json:"backing-filename"`
		Encrypted      bool   `json:"encrypted"`
		FormatSpecific struct {
			Data struct {
				DataFile   string `json:"data-file"`
				CreateType string `json:"create-type"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return Info{}, fmt.Errorf("read the answer of qemu-img info: %w", err)
	}
	data := info.FormatSpecific.Data
	switch {
	case info.Backing != "" || data.DataFile != "":
		return Info{}, fmt.Errorf("%s refers to another file (%s); flatten it with qemu-img convert -O qcow2", path, info.Backing+data.DataFile)
	case info.Encrypted:
		return Info{}, fmt.Errorf("%s is encrypted; decrypt it with qemu-img convert", path)
	case format == "vmdk" && data.CreateType != "monolithicSparse" && data.CreateType != "streamOptimized":
		return Info{}, fmt.Errorf("%s is a vmdk of type %q that refers to other files; convert it with qemu-img convert -O qcow2", path, data.CreateType)
	}
	needed := info.VirtualSize
	if m, err := measure(ctx, r, path, format); err == nil {
		needed = m
	}
	return Info{Format: format, Size: info.VirtualSize, Needed: needed}, nil
}

// measure asks how much a sparse raw copy takes.
func measure(ctx context.Context, r run.Runner, path, format string) (int64, error) {
	out, err := r.Run(ctx, "qemu-img", "map", "--output=json", "-f", format, path)
	if err != nil {
		return 0, err
	}
	var extents []struct {
		Length int64 `json:"length"`
		Zero   bool  `json:"zero"`
		Data   bool  `json:"data"`
	}
	if err := json.Unmarshal([]byte(out), &extents); err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range extents {
		if e.Data && !e.Zero {
			sum += e.Length
		}
	}
	return sum, nil
}

// Copy writes a raw copy. Holes of the input stay holes.
func Copy(ctx context.Context, r run.Runner, src, dst, format string) error {
	if format == "raw" {
		_, err := r.Run(ctx, "cp", "--sparse=always", "--reflink=auto", "--no-preserve=mode,ownership", "--", src, dst)
		return err
	}
	_, err := r.Run(ctx, "qemu-img", "convert", "-f", format, "-O", "raw", src, dst)
	return err
}

// spareSpace is kept free beside the copy, for what provisioners add.
const spareSpace = 64 << 20

// CheckSpace compares what a directory has free with the bytes that a copy
// needs. remedy says how another directory is chosen.
func CheckSpace(dir string, needed int64, remedy string) error {
	free, err := freespace.Below(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if free < needed+spareSpace {
		return fmt.Errorf("not enough space: the working copy needs %s, and %s has %s free; free some, or %s",
			rootfs.Bytes(needed+spareSpace), dir, rootfs.Bytes(free), remedy)
	}
	return nil
}
