// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// findRoot reads the partition table and chooses the root file system: the only
// candidate that, mounted read-only, looks like a system; of several, the one
// whose type or label says so.
func (f *flow) findRoot(ctx context.Context, j *step.Job) error {
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	table, all, err := scan(work)
	if err != nil {
		return err
	}
	if table.Backup {
		j.UI.Say("The primary partition table is damaged; using its backup at the end of the disk")
	}
	ranked, err := rootfs.Ranked(all, f.config.RootPartition)
	if err != nil {
		return err
	}
	root, guest, err := f.choose(ctx, j, work, ranked, all)
	if err != nil {
		return err
	}
	j.UI.Say(fmt.Sprintf("Root file system: %s; %s", root, guest))
	keyTable.Put(j.State, table)
	keyRoot.Put(j.State, root)
	keyGuest.Put(j.State, guest)
	return nil
}

// scan reads the partition table and the superblocks of a raw disk.
func scan(path string) (parttable.Table, []rootfs.Candidate, error) {
	file, err := os.Open(path)
	if err != nil {
		return parttable.Table{}, nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return parttable.Table{}, nil, err
	}
	table, err := parttable.Read(file, info.Size())
	if errors.Is(err, parttable.ErrBeyondEnd) {
		return table, nil, fmt.Errorf("%w; the file is incomplete, get it again", err)
	}
	if err != nil {
		return table, nil, err
	}
	all, err := rootfs.Scan(file, info.Size(), table)
	return table, all, err
}

// choose looks into the candidates. Those that cannot be mounted or hold no
// system are named in the error.
func (f *flow) choose(ctx context.Context, j *step.Job, work string, ranked, all []rootfs.Candidate) (rootfs.Candidate, guestInfo, error) {
	type fit struct {
		rootfs.Candidate
		guest guestInfo
	}
	var fits []fit
	var why []string
	for _, c := range ranked {
		guest, err := f.peek(ctx, j, work, c)
		if ctx.Err() != nil {
			return rootfs.Candidate{}, guestInfo{}, ctx.Err()
		}
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", c, err))
			continue
		}
		fits = append(fits, fit{c, guest})
	}
	switch {
	case len(fits) == 0:
		return rootfs.Candidate{}, guestInfo{}, fmt.Errorf("%w; looked into %s", rootfs.NotFound(all), strings.Join(why, "; "))
	case len(fits) > 1 && !rootfs.Clear(fits[0].Candidate, fits[1].Candidate):
		return rootfs.Candidate{}, guestInfo{}, fmt.Errorf("several partitions hold a system: (%s: %s), (%s: %s); set root_partition = N to choose one",
			fits[0].Candidate, fits[0].guest, fits[1].Candidate, fits[1].guest)
	}
	return fits[0].Candidate, fits[0].guest, nil
}

// peek mounts a candidate read-only, without replaying its journal, and reads
// what system it holds.
func (f *flow) peek(ctx context.Context, j *step.Job, work string, c rootfs.Candidate) (guest guestInfo, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(work), "peek-")
	if err != nil {
		return guestInfo{}, err
	}
	a := &attachment{root: f.root, disk: work, dir: dir}
	defer func() {
		// What this cannot undo now is undone with the build, and reported then.
		ctx, cancel := short(ctx)
		defer cancel()
		if cerr := a.close(ctx); cerr != nil {
			j.Owe("mounts of "+dir, a.close)
			err = errors.Join(err, cerr)
		}
	}()
	options := "ro,noload"
	if c.FS.Type == "xfs" {
		options = "ro,norecovery,nouuid"
	}
	if c.FS.Type == "ext2" {
		options = "ro"
	}
	if err := a.loop(ctx, c, "--read-only"); err != nil {
		return guestInfo{}, err
	}
	if err := a.mount(ctx, c, options); err != nil {
		return guestInfo{}, err
	}
	return readGuest(dir)
}

// partitionOption is what root_partition would be for a candidate.
func partitionOption(c rootfs.Candidate) string {
	if c.Number == 0 {
		return "none"
	}
	return strconv.Itoa(c.Number)
}
