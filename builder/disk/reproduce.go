// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/ext4"
	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// SourceDate is the time that reproducible builds have, from SOURCE_DATE_EPOCH;
// set is false when there is none.
func SourceDate() (date time.Time, set bool, err error) {
	date, err = sourcedate.Env()
	return date, !date.IsZero(), err
}

// prepareReproducible checks what reproducible needs.
func (c *Config) prepareReproducible() []error {
	date, set, err := SourceDate()
	if err != nil {
		return []error{err}
	}
	if c.Reproducible.True() && !set {
		return []error{fmt.Errorf("reproducible: is true, but the environment has no %s: set it to the time that the image is to have, in seconds since 1970", sourcedate.Variable)}
	}
	if set && !c.Reproducible.False() {
		c.date = date
	}
	return nil
}

// reproduce writes the root file system anew, so that where things lie does not
// depend on the order and the moment in which they were written.
func (f *flow) reproduce(ctx context.Context, j *step.Job) error {
	work, err := keyWork.Get(j.State)
	if err != nil || f.config.date.IsZero() {
		return err
	}
	root, err := keyRoot.Get(j.State)
	if err != nil {
		return err
	}
	table, err := keyTable.Get(j.State)
	if err != nil {
		return err
	}
	err = checkBoot(work, table)
	if err == nil {
		j.UI.Say("Writing the root file system anew, as of " + f.config.date.Format(time.RFC3339))
		r := renewal{root: f.root, disk: work, part: root, date: f.config.date}
		err = r.run(ctx, func(what string, undo func(context.Context) error) { j.Owe(what, undo) })
	}
	if errors.Is(err, ext4.ErrUnfit) && !f.config.Reproducible.True() {
		j.UI.Say(fmt.Sprintf("%v; the disk may differ from that of an equal build", err))
		return nil
	}
	return err
}

// biosBoot is the GPT type of the partition that GRUB keeps its core in.
const biosBoot = "21686148-6449-6e6f-744e-656564454649"

// checkBoot refuses boot loaders that find their files by block numbers.
func checkBoot(disk string, table parttable.Table) error {
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	code := make([]byte, 440)
	if _, err := file.ReadAt(code, 0); err != nil {
		return err
	}
	grub := bytes.Contains(code, []byte("GRUB"))
	has := false
	for _, p := range table.Partitions {
		has = has || p.Type == biosBoot
	}
	switch {
	case table.Scheme == parttable.GPT && grub && !has:
		return fmt.Errorf("%w: GRUB has no BIOS boot partition, and finds its core by block numbers", ext4.ErrUnfit)
	case bytes.Contains(code, []byte("SYSLINUX")), bytes.Contains(code, []byte("EXTLINUX")):
		return fmt.Errorf("%w: SYSLINUX finds its files by block numbers", ext4.ErrUnfit)
	}
	return nil
}

// renewal makes the file system of a partition anew.
type renewal struct {
	root run.Runner
	disk string
	part rootfs.Candidate
	date time.Time
}

// mke2fsConfig keeps the settings of this machine out.
const mke2fsConfig = "[defaults]\n\tinode_ratio = 16384\n"

// run copies the tree into a file system in a file of its own, compares the two,
// and puts it in the place of the old one. mke2fs writes the files in the order
// of the directories, one by one; the kernel would lay them out by what else
// happens at the time.
func (r renewal) run(ctx context.Context, owe func(what string, undo func(context.Context) error)) error {
	dir, err := os.MkdirTemp(filepath.Dir(r.disk), "renew-")
	if err != nil {
		return err
	}
	image := filepath.Join(dir, "fs")
	old := &attachment{root: r.root, disk: r.disk, dir: filepath.Join(dir, "old")}
	now := &attachment{root: r.root, disk: image, dir: filepath.Join(dir, "new")}
	undo := func(ctx context.Context) error {
		if err := errors.Join(now.close(ctx), old.close(ctx)); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	owe("directory "+dir, undo)
	err = errors.Join(os.Mkdir(old.dir, 0o700), os.Mkdir(now.dir, 0o700))
	if err == nil {
		err = r.write(ctx, image, old, now)
	}
	if err == nil {
		err = errors.Join(now.close(ctx), old.close(ctx))
	}
	if err == nil {
		err = r.replace(ctx, image)
	}
	end, cancel := short(ctx)
	defer cancel()
	return errors.Join(err, undo(end))
}

// write makes the new file system in a file.
func (r renewal) write(ctx context.Context, image string, old, now *attachment) error {
	conf := image + ".conf"
	super, args, err := r.prepare(image, conf)
	if err != nil {
		return err
	}
	if err := old.readOnly(ctx, r.part, old.dir); err != nil {
		return err
	}
	if err := checkSyslinux(old.dir); err != nil {
		return err
	}
	top, err := r.top(old.dir)
	if err != nil {
		return err
	}
	args = append(append([]string{"MKE2FS_CONFIG=" + conf, "E2FSPROGS_FAKE_TIME=" + strconv.FormatInt(r.date.Unix(), 10), "mke2fs"}, args...), "-d", old.dir, image)
	if _, err := r.root.Run(ctx, "env", args...); err != nil {
		return fmt.Errorf("write the file system anew: %w", err)
	}
	if err := r.settle(image, top, super); err != nil {
		return err
	}
	if _, err := r.root.Run(ctx, "e2fsck", "-f", "-n", image); err != nil {
		return fmt.Errorf("the file system that was written anew is damaged: %w", err)
	}
	return r.compare(ctx, image, old, now)
}

// checkSyslinux is checkBoot for a loader in a partition.
func checkSyslinux(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only read
	if exists(root, "boot/extlinux/ldlinux.sys", "boot/syslinux/ldlinux.sys", "extlinux/ldlinux.sys", "ldlinux.sys") {
		return fmt.Errorf("%w: SYSLINUX finds its files by block numbers", ext4.ErrUnfit)
	}
	return nil
}

// prepare makes the files that mke2fs needs, and its arguments.
func (r renewal) prepare(image, conf string) (ext4.Super, []string, error) {
	file, err := os.Open(r.disk)
	if err != nil {
		return ext4.Super{}, nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	super, err := ext4.ReadSuper(io.NewSectionReader(file, r.part.Start, r.part.Size))
	if err != nil {
		return super, nil, err
	}
	args, err := super.Arguments()
	if err != nil {
		return super, nil, err
	}
	size := super.Blocks() * super.BlockSize()
	if size > r.part.Size {
		return super, nil, fmt.Errorf("%w: it is larger than its partition", ext4.ErrUnfit)
	}
	if err := os.WriteFile(conf, []byte(mke2fsConfig), 0o644); err != nil {
		return super, nil, err
	}
	return super, args, errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size))
}

// top are the attributes of the root directory.
func (r renewal) top(dir string) (ext4.Root, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return ext4.Root{}, err
	}
	facts := tree.FactsOf(info)
	mode := uint32(info.Mode().Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&bit != 0 {
			mode |= value
		}
	}
	modified := info.ModTime()
	if modified.After(r.date) {
		modified = r.date
	}
	return ext4.Root{Mode: mode, UID: facts.UID, GID: facts.GID, Modified: modified}, nil
}

func (r renewal) settle(image string, top ext4.Root, super ext4.Super) error {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(ext4.Settle(file, r.date, top, super), file.Close())
}

// compare makes sure that nothing was lost: mke2fs passes over what it does not
// know. Sockets are of programs that ended; they are not missed.
func (r renewal) compare(ctx context.Context, image string, old, now *attachment) error {
	if os.Geteuid() != 0 {
		return nil // not all files can be read; e2fsck has seen it
	}
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	whole := r.part
	whole.Start, whole.Size = 0, info.Size()
	if err := now.readOnly(ctx, whole, now.dir); err != nil {
		return err
	}
	lost, err := imagediff.Files(ctx, old.dir, now.dir)
	if err != nil {
		return err
	}
	for _, l := range lost {
		if info, err := os.Lstat(filepath.Join(old.dir, l.Path)); err == nil && info.Mode()&fs.ModeSocket != 0 {
			continue
		}
		return fmt.Errorf("%w: mke2fs has not copied %s as it is (%s %v)", ext4.ErrUnfit, l.Path, l.Action, l.What)
	}
	return nil
}

// replace puts the new file system in the place of the old one. Zeros become
// holes of the disk.
func (r renewal) replace(ctx context.Context, image string) error {
	in, err := sparse.Open(image)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(r.disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = sparse.Punch(out, r.part.Start, r.part.Size)
	buf := make([]byte, in.BlockSize())
	const page = 4096
	for index, berr := range in.Blocks() {
		if err = errors.Join(err, berr, ctx.Err()); err != nil {
			break
		}
		if err = in.Read(index, buf); err != nil {
			break
		}
		base := index * in.BlockSize()
		for at := int64(0); at < int64(len(buf)) && base+at < in.Size(); at += page {
			part := buf[at : at+page]
			if sparse.IsZero(part) {
				continue
			}
			if _, werr := out.WriteAt(part[:min(page, in.Size()-base-at)], r.part.Start+base+at); werr != nil {
				err = errors.Join(err, werr)
			}
		}
	}
	return errors.Join(err, out.Sync(), out.Close())
}
