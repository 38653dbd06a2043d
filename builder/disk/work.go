// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// checkHost finds out before anything is made whether commands really run as
// root and whether the programs are there.
func (f *flow) checkHost(ctx context.Context, _ *step.Job) error {
	out, err := quick(ctx, f.root, "id", "-u")
	if err != nil || strings.TrimSpace(out) != "0" {
		reason := "they run as user id " + strings.TrimSpace(out)
		if err != nil {
			reason = err.Error()
		}
		return fmt.Errorf("mounting needs root, and command_wrapper = %q does not give it (%s): run packer as root, allow sudo without a password, or set command_wrapper",
			f.config.CommandWrapper, reason)
	}
	var missing []string
	for _, tool := range []string{"losetup", "mount", "umount", "chroot", "cp", "find"} {
		if _, err := quick(ctx, f.root, "sh", "-c", `command -v "$1"`, "sh", tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("these programs are missing on this machine: %s (Debian packages mount, util-linux, coreutils, findutils)", strings.Join(missing, ", "))
	}
	return nil
}

// workspace makes output_directory and, inside it, the temporary directory of
// this build, so that the finished disk only has to be renamed.
func (f *flow) workspace(ctx context.Context, j *step.Job) error {
	out := f.config.OutputDirectory
	_, statErr := os.Stat(out)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if errors.Is(statErr, os.ErrNotExist) {
		j.Owe("directory "+out, func(context.Context) error {
			if step.Failed(j.State) {
				_ = os.Remove(out) // only goes when it is empty
			}
			return nil
		})
	}
	// The kernel names mounts by their real, absolute path.
	real, err := filepath.Abs(out)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return err
	}
	dir, unlock, err := f.workDir(ctx, j, real)
	if err != nil {
		return err
	}
	j.Owe("directory "+dir, func(context.Context) error {
		defer unlock()
		return os.RemoveAll(dir)
	})
	keyWorkDir.Put(j.State, dir)
	return nil
}

// copyDisk makes the raw working copy of the input.
func (f *flow) copyDisk(ctx context.Context, j *step.Job) error {
	input, err := keyInput.Get(j.State)
	if err != nil {
		return err
	}
	dir, err := keyWorkDir.Get(j.State)
	if err != nil {
		return err
	}
	format, err := diskfile.Detect(input, f.config.DiskFormat)
	if err != nil {
		return err
	}
	info, err := diskfile.Inspect(ctx, f.user, input, format)
	if err != nil {
		return err
	}
	if f.config.sizeBytes > 0 && f.config.sizeBytes < info.Size {
		return fmt.Errorf("disk_size = %q is smaller than the input disk (%s); a disk can only grow", f.config.DiskSize, rootfs.Bytes(info.Size))
	}
	if err := diskfile.CheckSpace(dir, info.Needed, "set output_directory to a larger disk"); err != nil {
		return err
	}
	work := filepath.Join(dir, workName)
	j.UI.Say(fmt.Sprintf("Copying the disk (%s, %s, %s in use)", format, rootfs.Bytes(info.Size), rootfs.Bytes(info.Needed)))
	if err := diskfile.Copy(ctx, f.user, input, work, format); err != nil {
		return err
	}
	if size := max(f.config.sizeBytes, roundUp(info.Size, 512)); size != info.Size {
		if err := os.Truncate(work, size); err != nil {
			return err
		}
	}
	keyWork.Put(j.State, work)
	return nil
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
