// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package postprocessor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
)

// choose finds the disk to publish.
func (c *Config) choose(source packersdk.Artifact) (string, error) {
	if c.Disk != "" {
		return c.Disk, nil
	}
	disks, others := disksOf(source.Files())
	list := "\n  " + strings.Join(disks, "\n  ")
	switch n := len(disks); {
	case n == 0:
		return "", fmt.Errorf("disk: the build %s left no raw, qcow2 or vmdk disk: name one with disk%s", source.BuilderId(), others)
	case c.DiskIndex > n:
		return "", fmt.Errorf("disk_index: is %d, and the build left %d disks:%s", c.DiskIndex, n, list)
	case c.DiskIndex > 0:
		return disks[c.DiskIndex-1], nil
	case n > 1:
		return "", fmt.Errorf("disk: the build left %d disks: choose one with disk, or with disk_index from 1 on:%s", n, list)
	default:
		return disks[0], nil
	}
}

// disksOf sorts out the disks. others says of the rest why each is none.
func disksOf(files []string) (disks []string, others string) {
	for _, path := range files {
		format, err := diskfile.Detect(path, "")
		if err == nil && format == "raw" {
			err = partitioned(path)
		}
		if err != nil {
			others += "\n  " + err.Error()
			continue
		}
		disks = append(disks, path)
	}
	if others != "" {
		others = "; its files:" + others
	}
	return disks, others
}

// partitioned tells a raw disk from any other file by the mark of a partition
// table, which GPT disks have as well.
func partitioned(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	mark := make([]byte, 2)
	if _, err := f.ReadAt(mark, 510); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(mark, []byte{0x55, 0xaa}) {
		return fmt.Errorf("%s has no partition table", path)
	}
	return nil
}
