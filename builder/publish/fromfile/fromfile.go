// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fromfile publishes a disk file as it lies somewhere: raw as it is,
// qcow2 and vmdk through a temporary raw copy that is as sparse as they are.
package fromfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Job is one disk file to publish.
type Job struct {
	// Path is the disk file.
	Path string
	// Format is "raw", "qcow2" or "vmdk"; "" is recognised by the first bytes.
	Format string
	// Config has gone through PrepareDisk.
	Config publish.Config
	// TempDir gets the raw copy of a disk that is not raw. Default: the
	// directory of the disk, which has room for disks as a rule.
	TempDir string
	// UI is told what happens.
	UI publish.Reporter
	// Commands runs qemu-img; nil starts real processes.
	Commands run.Runner
}

// Check finds what would stop the publication, on this machine and in every
// target region. It makes nothing.
func (j Job) Check(ctx context.Context, f *awsx.Factory) error {
	_, _, err := j.check(ctx, f)
	return err
}

// Publish makes images of the disk. When it fails, everything that it made is
// gone again, or is listed in the error.
func (j Job) Publish(ctx context.Context, f *awsx.Factory) (*publish.Result, error) {
	p, info, err := j.check(ctx, f)
	if err != nil {
		return nil, err
	}
	raw, remove, err := j.raw(ctx, info)
	if err != nil {
		return nil, err
	}
	defer remove()
	return p.Disk(ctx, raw)
}

func (j Job) commands() run.Runner {
	if j.Commands != nil {
		return j.Commands
	}
	return run.Exec{}
}

func (j Job) check(ctx context.Context, f *awsx.Factory) (*publish.Publisher, diskfile.Info, error) {
	format, err := diskfile.Detect(j.Path, j.Format)
	if err != nil {
		return nil, diskfile.Info{}, err
	}
	info, err := diskfile.Inspect(ctx, j.commands(), j.Path, format)
	if err != nil {
		return nil, info, err
	}
	if size := j.Config.VolumeSize << 30; size > 0 && size < info.Size {
		return nil, info, fmt.Errorf("volume_size: is %d GiB, and the disk has %d bytes: raise it or leave it out", j.Config.VolumeSize, info.Size)
	}
	path, err := filepath.Abs(j.Path)
	if err != nil {
		return nil, info, err
	}
	c := j.Config
	c.DiskName = path
	c.About.BuiltBy = "rightimage " + version.String()
	c.About.Built = time.Now().UTC().Truncate(time.Second)
	c.About.Architecture = c.AMIArchitecture
	c.About.Source.URL = path
	c.Maker = "rightimage publish"
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		c.Inventory = inventory
	}
	p, err := publish.New(f, c, j.UI)
	if err != nil {
		return nil, info, err
	}
	return p, info, p.Precheck(ctx)
}

// inventory mounts a raw disk to see what is in it. One without a system, such
// as a disk of data, has nothing to list.
func inventory(ctx context.Context, path string) (inv *sbom.Inventory, err error) {
	err = disk.Inspect(ctx, path, func(root string) error {
		inv, err = sbom.Read(ctx, root, sbom.Options{})
		return err
	})
	return inv, err
}

// raw returns the path of the disk as a raw file, and what removes the file
// again when it is a copy.
func (j Job) raw(ctx context.Context, info diskfile.Info) (path string, remove func(), err error) {
	if info.Format == "raw" {
		return j.Path, func() {}, nil
	}
	parent := j.TempDir
	if parent == "" {
		parent = filepath.Dir(j.Path)
	}
	dir, remove, err := workDir(parent)
	if err != nil {
		return "", nil, fmt.Errorf("directory for the raw copy of %s (choose another with temp_directory): %w", j.Path, err)
	}
	path = filepath.Join(dir, "disk.raw")
	if err = diskfile.CheckSpace(dir, info.Needed, "choose a larger disk with temp_directory"); err == nil {
		j.UI.Say(fmt.Sprintf("Converting %s from %s to raw", j.Path, info.Format))
		err = diskfile.Copy(ctx, j.commands(), j.Path, path, info.Format)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}
