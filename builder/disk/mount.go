// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// attachment is a partition of a disk file, mounted on a directory. Opening and
// closing can stop anywhere: close finds out from the kernel what is there.
type attachment struct {
	root   run.Runner
	disk   string   // absolute path of the raw disk
	dir    string   // mount point, made by the caller
	loops  []string // the loop devices made here, the newest last
	lazy   bool     // a mount could only be removed lazily
	shared bool     // the disk is not ours alone: others may have it attached too
}

// loop attaches the partition to a loop device. It works by offset, because
// many kernels do not scan partitions. The caller must call close, also after
// an error.
func (a *attachment) loop(ctx context.Context, c rootfs.Candidate, flags ...string) error {
	args := append([]string{"--find", "--show", "--offset", strconv.FormatInt(c.Start, 10), "--sizelimit", strconv.FormatInt(c.Size, 10)}, flags...)
	out, err := quick(ctx, a.root, "losetup", append(args, a.disk)...)
	if err != nil {
		return err
	}
	a.loops = append(a.loops, strings.TrimSpace(out))
	return nil
}

// device is the loop device of the partition that was attached last.
func (a *attachment) device() string { return a.loops[len(a.loops)-1] }

// mount mounts the attached partition.
func (a *attachment) mount(ctx context.Context, c rootfs.Candidate, options string) error {
	_, err := quick(ctx, a.root, "mount", "-t", c.FS.Type, "-o", options, a.device(), a.dir)
	return err
}

// bind mounts one entry of chroot_mounts below the root. Mounts are made
// private, so that mounting on /dev/pts of the chroot does not also mount on
// this machine's.
func (a *attachment) bind(ctx context.Context, kind, source, target string) error {
	dst, err := inside(a.dir, target)
	if err != nil {
		return fmt.Errorf("chroot_mounts: %w", err)
	}
	args := []string{"-t", kind}
	if kind == "bind" {
		args = []string{"--bind"}
	}
	if _, err := quick(ctx, a.root, "mount", append(args, source, dst)...); err != nil {
		return err
	}
	_, err = quick(ctx, a.root, "mount", "--make-private", dst)
	return err
}

// close ends what still runs in the chroot, unmounts everything below the
// directory, and detaches the loop device. Calling it again is harmless.
func (a *attachment) close(ctx context.Context) error {
	err := errors.Join(a.unmount(ctx), a.detach(ctx))
	if err != nil {
		return err
	}
	if err := os.Remove(a.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unmountTries bounds how often a busy mount is tried again, 300 ms apart, and
// detachTries how often a busy loop device is, 100 ms apart: a program that made
// itself a mount namespace meanwhile keeps both until it has let go of them.
const (
	unmountTries = 10
	detachTries  = 100
)

// unmount removes all mounts at and below the directory, innermost first. A
// mount that stays busy goes lazily, and lazy tells so.
func (a *attachment) unmount(ctx context.Context) error {
	var last error
	for range unmountTries {
		mounts, err := mountsBelow(a.dir)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			if _, err := a.root.Run(ctx, "umount", m); err != nil {
				last = err
			}
		}
		if mounts, err = mountsBelow(a.dir); err != nil || len(mounts) == 0 {
			return err
		}
		last = errors.Join(last, killInside(ctx, a.root, a.dir))
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(300 * time.Millisecond):
		}
	}
	a.lazy = true
	if _, err := a.root.Run(ctx, "umount", "--lazy", "--recursive", a.dir); err != nil {
		return errors.Join(last, err)
	}
	return nil
}

// detach removes every loop device of the disk and waits until they are gone. Of
// a shared disk it removes its own and does not wait: the kernel drops a device
// with its last user, and what else is there is somebody else's.
func (a *attachment) detach(ctx context.Context) error {
	if a.shared {
		for len(a.loops) > 0 {
			if _, err := a.root.Run(ctx, "losetup", "--detach", a.loops[0]); err != nil {
				return err
			}
			a.loops = a.loops[1:]
		}
		return nil
	}
	var last error
	for range detachTries {
		devices, err := loopsOf(ctx, a.root, a.disk)
		if err != nil {
			return err
		}
		if len(devices) == 0 {
			return nil
		}
		last = nil
		for _, d := range devices {
			// An error may mean that a busy device has gone since it was listed.
			if _, err := a.root.Run(ctx, "losetup", "--detach", d); err != nil {
				last = errors.Join(last, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.Join(fmt.Errorf("the loop device of %s stays busy", a.disk), last)
}

// loopsOf returns the loop devices of a file.
func loopsOf(ctx context.Context, r run.Runner, disk string) ([]string, error) {
	out, err := r.Run(ctx, "losetup", "--list", "--json", "--output", "NAME,BACK-FILE", "--associated", disk)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(out) == "" {
		return nil, nil
	}
	var list struct {
		Loopdevices []struct {
			Name string `json:"name"`
		} `json:"loopdevices"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read the answer of losetup: %w", err)
	}
	var names []string
	for _, d := range list.Loopdevices {
		names = append(names, d.Name)
	}
	return names, nil
}

// mountsBelow returns the mount points at and below dir, innermost first.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return parseMounts(f, dir)
}

// parseMounts reads mountinfo; its fifth field is the mount point, with blanks
// as octal escapes.
func parseMounts(r io.Reader, dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			out = append(out, point)
		}
	}
	slices.Reverse(out)
	return out, lines.Err()
}
