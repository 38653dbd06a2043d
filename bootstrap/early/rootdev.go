// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package early

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// errNotGrowable says why the root cannot be grown by us.
var errNotGrowable = errors.New("root is left as it is")

// rootDevice is where the root file system lies.
type rootDevice struct {
	fsType string // ext4, xfs, …
	// device is the node of the partition (or of the disk, without partitions).
	device string
	// disk is the node of the disk, number the partition; empty and 0 when the
	// file system fills the disk itself.
	disk   string
	number int
	// start and size of the partition as the kernel knows them, in bytes.
	start, size int64
	diskSize    int64
}

// sysSector is the unit of sizes in /sys, whatever the disk's sector is.
const sysSector = 512

// findRoot reads /proc/self/mountinfo and /sys below root. The device numbers
// lead, since names such as /dev/root need not exist.
func findRoot(root string) (rootDevice, error) {
	numbers, fsType, err := mountOfRoot(root)
	if err != nil {
		return rootDevice{}, err
	}
	d := rootDevice{fsType: fsType}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", numbers))
	if err != nil {
		return d, fmt.Errorf("%w: device %s of type %s is no plain block device", errNotGrowable, numbers, fsType)
	}
	name := filepath.Base(dir)
	if strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") || strings.HasPrefix(name, "loop") {
		return d, fmt.Errorf("%w: it lies on %s, which is not a plain disk or partition", errNotGrowable, name)
	}
	d.device = filepath.Join(root, "dev", name)
	if d.size, err = sysNumber(dir, "size"); err != nil {
		return d, err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		d.diskSize = d.size
		return d, nil //nolint:nilerr // no partition: the file system has the whole disk
	}
	parent := filepath.Dir(dir)
	d.disk = filepath.Join(root, "dev", filepath.Base(parent))
	if d.start, err = sysNumber(dir, "start"); err != nil {
		return d, err
	}
	if d.diskSize, err = sysNumber(parent, "size"); err != nil {
		return d, err
	}
	d.number, err = strconv.Atoi(readTrimmed(filepath.Join(dir, "partition")))
	return d, err
}

// mountOfRoot returns major:minor and the type of what is mounted on "/".
func mountOfRoot(root string) (numbers, fsType string, err error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", errNotGrowable, err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		_, after, ok := strings.Cut(line, " - ")
		kind := strings.Fields(after)
		// The last mount on "/" is the visible one.
		if ok && len(f) > 4 && len(kind) > 0 && f[4] == "/" {
			numbers, fsType = f[2], kind[0]
		}
	}
	if numbers == "" {
		return "", "", fmt.Errorf("%w: nothing is mounted on /", errNotGrowable)
	}
	return numbers, fsType, nil
}

func sysNumber(dir, name string) (int64, error) {
	n, err := strconv.ParseInt(readTrimmed(filepath.Join(dir, name)), 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return 0, fmt.Errorf("%w: %s/%s is no size", errNotGrowable, dir, name)
	}
	return n * sysSector, nil
}

func readTrimmed(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
