// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// complete makes the paths absolute and checks what QEMU will read.
func (d *Disk) complete() error {
	if d.ID == "" || d.Path == "" {
		return errors.New("spec: ID and Path of a disk must be set")
	}
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return err
	}
	d.Path = path
	if d.Base != "" {
		if d.Base, err = filepath.Abs(d.Base); err != nil {
			return err
		}
	}
	return errors.Join(checkText("disk id", d.ID), checkText("disk", d.Path), checkText("base of a disk", d.Base))
}

// make makes the qcow2 file, unless it is there already. It appears under its
// name only when complete. One that is smaller than wanted grows.
func (d Disk) make(ctx context.Context, qemuImg string) error {
	if _, err := os.Stat(d.Path); err == nil {
		return d.grow(ctx, qemuImg)
	}
	size, options := d.Size, "lazy_refcounts=on"
	raw, err := os.Stat(d.Base)
	switch {
	case err == nil:
		size = max(size, raw.Size())
		options += ",backing_fmt=raw,backing_file=" + optValue(d.Base)
	case d.Base == "" || errors.Is(err, fs.ErrNotExist):
	default:
		return fmt.Errorf("base of disk %s: %w", d.ID, err)
	}
	if size == 0 {
		return fmt.Errorf("disk %s: no size, and no base at %s", d.ID, d.Base)
	}
	part := d.Path + ".part"
	if _, err := (run.Exec{}).Run(ctx, qemuImg, "create", "-q", "-f", "qcow2", "-o", options, part, strconv.FormatInt(size, 10)); err != nil {
		_ = os.Remove(part)
		return err
	}
	return os.Rename(part, d.Path)
}

// grow makes an existing file as large as it should be. It never shrinks one.
func (d Disk) grow(ctx context.Context, qemuImg string) error {
	out, err := (run.Exec{}).Run(ctx, qemuImg, "info", "--output=json", d.Path)
	if err != nil {
		return err
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return fmt.Errorf("size of disk %s: %w", d.ID, err)
	}
	if info.Size >= d.Size {
		return nil
	}
	_, err = (run.Exec{}).Run(ctx, qemuImg, "resize", "-q", "-f", "qcow2", d.Path, strconv.FormatInt(d.Size, 10))
	return err
}

// WriteRaw writes what is on the disk into raw, an existing sparse file of the
// disk's size that holds nothing but a hole. Nobody may write to the disk
// meanwhile: its machine is off or frozen.
func (m *Manager) WriteRaw(ctx context.Context, d Disk, raw string) error {
	// -U: a frozen machine still holds its lock on the file.
	_, err := (run.Exec{}).Run(ctx, m.opts.QEMUImg, "convert", "-U", "-n", "--target-is-zero", "-S", "64k",
		"-f", "qcow2", "-O", "raw", d.Path, raw)
	return err
}

// node is the name of the disk inside of QEMU.
func (d Disk) node() string { return strings.ReplaceAll(d.ID, "-", "") }

// blockdev describes the file of the disk to QEMU. What the guest flushes is not
// forced to the host's disk: the disk survives the end of QEMU, not of the power.
func (d Disk) blockdev() map[string]any {
	return map[string]any{
		"driver": "qcow2", "node-name": d.node(), "discard": "unmap", "detect-zeroes": "unmap",
		"cache": map[string]any{"no-flush": true},
		"file":  map[string]any{"driver": "file", "filename": d.Path},
	}
}

// device describes the disk as the guest sees it.
func (d Disk) device() map[string]any {
	return map[string]any{"driver": "virtio-blk-pci", "id": "dev-" + d.node(), "drive": d.node(), "serial": d.node(), "write-cache": "on"}
}

// diskArgs are the disks on QEMU's command line. The first one is booted.
func diskArgs(disks []Disk) ([]string, error) {
	var args []string
	for i, d := range disks {
		device := d.device()
		if i == 0 {
			device["bootindex"] = 0
		}
		for _, option := range []struct {
			name  string
			value map[string]any
		}{{"-blockdev", d.blockdev()}, {"-device", device}} {
			text, err := json.Marshal(option.value)
			if err != nil {
				return nil, fmt.Errorf("disk %s: %w", d.ID, err)
			}
			args = append(args, option.name, string(text))
		}
	}
	return args, nil
}
