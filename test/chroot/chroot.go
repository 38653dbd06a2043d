// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package chroot gives tests a machine that they may change: the system of a disk,
// mounted so that everything that is written to it goes to memory and is gone
// afterwards. Nothing boots; programs run in it one by one.
package chroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
)

// Machine is such a system while it is mounted.
type Machine struct {
	// Root is where it is mounted.
	Root string
}

// mount is a file system of the machine.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// With mounts the system of a raw disk, which needs root, and calls use.
func With(ctx context.Context, raw string, use func(Machine) error) error {
	return disk.Inspect(ctx, raw, func(lower string) (err error) {
		dir, err := os.MkdirTemp("", "rightimage-machine-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		memory, root := filepath.Join(dir, "memory"), filepath.Join(dir, "root")
		if err := errors.Join(os.Mkdir(memory, 0o755), os.Mkdir(root, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount memory: %w", err)
		}
		defer func() { err = errors.Join(err, unmount(memory)) }()
		upper, work := filepath.Join(memory, "upper"), filepath.Join(memory, "work")
		if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
			return err
		}
		for _, m := range []mount{
			{"overlay", "", "overlay", 0, "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work},
			{"proc", "proc", "proc", unix.MS_NOSUID | unix.MS_NODEV, ""},
			{"/dev", "dev", "", unix.MS_BIND, ""},
			{"tmpfs", "run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		} {
			target := filepath.Join(root, m.target)
			if err := unix.Mount(m.source, target, m.kind, m.flags, m.data); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
			defer func() { err = errors.Join(err, unmount(target)) }()
		}
		return use(Machine{Root: root})
	})
}

// unmount also lets go of what a process that is about to end still uses.
func unmount(target string) error {
	if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// Path is where a file of the machine is found from outside.
func (m Machine) Path(name string) string { return filepath.Join(m.Root, name) }

// Put copies a file of ours into the machine.
func (m Machine) Put(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.Path(to)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.Path(to), data, mode)
}

// Run runs a program in the machine, as a login of root would.
func (m Machine) Run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "chroot", append([]string{m.Root}, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}
