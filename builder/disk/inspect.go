// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Inspect mounts a raw disk read-only below a temporary directory, the root file
// system and what its fstab has below it, and lets look see it. Journals are not
// replayed, so that the disk stays as it is. It needs root.
func Inspect(ctx context.Context, path string, look func(root string) error) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("mounting a disk needs root: run it with sudo, or mount the disk and give its directory")
	}
	_, all, err := scan(path)
	if err != nil {
		return err
	}
	ranked, err := rootfs.Ranked(all, 0)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rightimage-inspect-")
	if err != nil {
		return err
	}
	a := &attachment{root: run.Exec{}, disk: path, dir: dir, shared: true}
	defer func() {
		ctx, cancel := short(ctx)
		defer cancel()
		err = errors.Join(err, a.close(ctx))
	}()
	root, err := a.mountRoot(ctx, ranked)
	if err != nil {
		return err
	}
	if err := a.mountRest(ctx, root, all); err != nil {
		return err
	}
	return look(dir)
}

// mountRoot mounts the first candidate that holds a system.
func (a *attachment) mountRoot(ctx context.Context, ranked []rootfs.Candidate) (rootfs.Candidate, error) {
	var why []string
	for _, c := range ranked {
		if err := a.readOnly(ctx, c, a.dir); err != nil {
			return c, err
		}
		_, err := readGuest(a.dir)
		if err == nil {
			return c, nil
		}
		why = append(why, fmt.Sprintf("%s: %v", c, err))
		if err := errors.Join(a.unmount(ctx), a.detach(ctx)); err != nil {
			return c, err
		}
	}
	return rootfs.Candidate{}, fmt.Errorf("%w; looked into %s", rootfs.ErrNotFound, strings.Join(why, "; "))
}

// mountRest mounts the other partitions where fstab says.
func (a *attachment) mountRest(ctx context.Context, root rootfs.Candidate, all []rootfs.Candidate) error {
	text, err := os.ReadFile(filepath.Join(a.dir, "etc/fstab"))
	if err != nil {
		return nil // an image without fstab has one partition
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0][0] == '#' || fields[1] == "/" || fields[1][0] != '/' {
			continue
		}
		i := slices.IndexFunc(all, func(c rootfs.Candidate) bool { return c.Number != root.Number && named(c, fields[0]) })
		if i < 0 || !all[i].FS.Supported() && all[i].FS.Type != "vfat" {
			continue
		}
		target, err := inside(a.dir, fields[1])
		if err != nil {
			return err
		}
		if err := a.readOnly(ctx, all[i], target); err != nil {
			return err
		}
	}
	return nil
}

// named reports whether fstab's first field means a partition.
func named(c rootfs.Candidate, source string) bool {
	kind, value, _ := strings.Cut(source, "=")
	value = strings.Trim(value, `"`)
	switch kind {
	case "UUID":
		return strings.EqualFold(value, c.FS.UUID) && value != ""
	case "LABEL":
		return value == c.FS.Label && value != ""
	case "PARTUUID":
		return strings.EqualFold(value, c.UUID) && value != ""
	case "PARTLABEL":
		return value == c.Name && value != ""
	}
	return false
}

// readOnly mounts a partition without replaying its journal.
func (a *attachment) readOnly(ctx context.Context, c rootfs.Candidate, target string) error {
	if err := a.loop(ctx, c, "--read-only"); err != nil {
		return err
	}
	options := "ro,nodev,nosuid,noexec"
	switch c.FS.Type {
	case "ext3", "ext4":
		options += ",noload"
	case "xfs":
		options += ",norecovery,nouuid"
	}
	_, err := quick(ctx, a.root, "mount", "-t", c.FS.Type, "-o", options, a.device(), target)
	return err
}
