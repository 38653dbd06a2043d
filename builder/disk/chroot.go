// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// attach mounts the root file system for provisioning. It checks it first, so
// that a broken input is not blamed on the provisioners.
func (f *flow) attach(ctx context.Context, j *step.Job) error {
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	root, err := keyRoot.Get(j.State)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(work), "root-")
	if err != nil {
		return err
	}
	a := &attachment{root: f.root, disk: work, dir: dir}
	j.Owe("mounts and loop devices of "+work, func(ctx context.Context) error {
		err := a.close(ctx)
		if a.lazy {
			j.UI.Error(dir + " was busy and could only be unmounted lazily; it goes when the last program that uses it ends")
		}
		return err
	})
	options := "rw"
	if root.FS.Type == "xfs" {
		options = "rw,nouuid"
	}
	if err := a.loop(ctx, root); err != nil {
		return err
	}
	if root.FS.Dirty {
		j.UI.Say("The file system was not unmounted cleanly; its journal is replayed now")
	} else if err := f.check(ctx, j, a.device(), root); err != nil {
		return fmt.Errorf("%w; repair the input disk, or set skip_fsck = true", err)
	}
	if err := a.mount(ctx, root, options); err != nil {
		return err
	}
	keyAttach.Put(j.State, a)
	source, err := keySource.Get(j.State)
	if err != nil {
		return err
	}
	j.State.Put("generated_data", map[string]any{
		"SourceImageURL": source,
		"RootPartition":  partitionOption(root),
		"Architecture":   f.guestArch(j),
		"Everybody":      strconv.FormatBool(f.config.Everybody()), // for our provisioner
	})
	return nil
}

func (f *flow) guestArch(j *step.Job) string {
	g, err := keyGuest.Get(j.State)
	if err != nil {
		return ""
	}
	return g.Arch
}

// policy is what Debian's invoke-rc.d asks whether a service may start; 101
// forbids it.
const (
	policyPath = "/usr/sbin/policy-rc.d"
	policyText = "#!/bin/sh\n# Services must not start while the image is being built.\nexit 101\n"
)

// setUpChroot mounts the kernel's file systems and lends the chroot the files
// it needs; what it lends is taken back before the disk is unmounted.
func (f *flow) setUpChroot(ctx context.Context, j *step.Job) error {
	a, err := keyAttach.Get(j.State)
	if err != nil {
		return err
	}
	for _, m := range f.config.ChrootMounts {
		if err := a.bind(ctx, m[0], m[1], m[2]); err != nil {
			return err
		}
	}
	l := &loans{root: f.root, dir: a.dir, say: j.UI.Say}
	keyLoans.Put(j.State, l)
	for _, path := range f.config.CopyFiles {
		if err := l.lend(ctx, path, path); err != nil {
			return fmt.Errorf("copy_files: %w", err)
		}
	}
	if f.config.AllowServiceStarts {
		return nil
	}
	work, err := keyWorkDir.Get(j.State)
	if err != nil {
		return err
	}
	policy := filepath.Join(work, "policy-rc.d")
	if err := os.WriteFile(policy, []byte(policyText), 0o755); err != nil {
		return err
	}
	if err := l.lend(ctx, policy, policyPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// detach takes back what was lent, unmounts the disk and checks it. From here
// on the working copy is a finished disk.
func (f *flow) detach(ctx context.Context, j *step.Job) error {
	a, err := keyAttach.Get(j.State)
	if err != nil {
		return err
	}
	l, err := keyLoans.Get(j.State)
	if err != nil {
		return err
	}
	root, err := keyRoot.Get(j.State)
	if err != nil {
		return err
	}
	if err := killInside(ctx, f.root, a.dir); err != nil {
		return err
	}
	if err := l.takeBack(ctx); err != nil {
		return err
	}
	if err := f.takeInventory(ctx, j, a.dir); err != nil {
		return err
	}
	// Freed blocks become holes of the image, once the journal has let go of them.
	// Not every file system can.
	_, _ = f.root.Run(ctx, "sync", "-f", a.dir)
	_, _ = f.root.Run(ctx, "fstrim", a.dir)
	if err := a.unmount(ctx); err != nil {
		return err
	}
	if a.lazy {
		return errors.New("a program still uses the disk, so that it cannot be unmounted cleanly; the disk would be damaged")
	}
	if err := f.check(ctx, j, a.device(), root); err != nil {
		return fmt.Errorf("after provisioning: %w", err)
	}
	return a.close(ctx)
}

// xfsDirtyLog is how xfs_repair says that the log has to be replayed first.
const xfsDirtyLog = 2

// check asks the file system's own tool, without repair, whether it is sound.
func (f *flow) check(ctx context.Context, j *step.Job, device string, root rootfs.Candidate) error {
	tool, args := "e2fsck", []string{"-f", "-n", device}
	if root.FS.Type == "xfs" {
		tool, args = "xfs_repair", []string{"-n", device}
	}
	if f.config.SkipFsck {
		return nil
	}
	if _, err := f.root.Run(ctx, "sh", "-c", `command -v "$1"`, "sh", tool); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		j.UI.Say(tool + " is not installed; the file system is not checked")
		return nil //nolint:nilerr // the user was told
	}
	_, err := f.root.Run(ctx, tool, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && root.FS.Type == "xfs" && exit.ExitCode() == xfsDirtyLog {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the file system is damaged: %w", err)
	}
	return nil
}
