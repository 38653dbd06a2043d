// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package publish turns a disk file into AMIs: snapshot through the EBS direct
// APIs, registration, waiting, and the undo of all of it.
package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// regionsAtOnce bounds how many regions are filled at the same time; each has
// up to upload_concurrency blocks in memory.
const regionsAtOnce = 4

// Publish uploads the raw disk file to every target region of c and registers
// an AMI in each. Nothing is made when a precheck fails in any region. On
// failure or cancel everything that was made is removed again; the error then
// lists what could not be, with the command that removes it.
//
// c must have gone through Prepare.
func Publish(ctx context.Context, f *awsx.Factory, disk string, c Config, ui Reporter) (*Result, error) {
	p, err := New(f, c, ui)
	if err != nil {
		return nil, err
	}
	return p.Disk(ctx, disk)
}

// Disk uploads the raw disk file and registers images of it.
func (p *publisher) Disk(ctx context.Context, path string) (*Result, error) {
	disk, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = disk.Close() }() // it was only read
	if err := p.precheck(ctx, disk); err != nil {
		return nil, err
	}
	var owed ledger.Ledger
	result, err := p.everyRegion(ctx, disk, &owed)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err) // also when it came too late to stop anything
	}
	if err != nil {
		return nil, p.settle(ctx, &owed, err)
	}
	owed.ForgiveAll()
	return result, nil
}

// everyRegion publishes to the regions side by side; the first failure stops
// the others.
func (p *publisher) everyRegion(ctx context.Context, disk *sparse.Disk, owed *ledger.Ledger) (*Result, error) {
	result := &Result{Name: p.AMIName, Images: map[string]Image{}}
	var lock sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(regionsAtOnce)
	for _, r := range p.regions {
		group.Go(func() error {
			image, err := p.oneRegion(ctx, r, disk, owed)
			if err != nil {
				return err
			}
			lock.Lock()
			defer lock.Unlock()
			result.Images[r.name] = image
			return nil
		})
	}
	return result, group.Wait()
}

// oneRegion makes the snapshot and the image of one region.
func (p *publisher) oneRegion(ctx context.Context, r *region, disk *sparse.Disk, owed *ledger.Ledger) (Image, error) {
	p.say("%s: uploading a disk of %s as a snapshot", r.name, size(disk.Size()))
	snap, err := p.upload(ctx, r, disk, owed)
	if err != nil {
		return Image{}, err
	}
	if err := r.waitSnapshot(ctx, p.waiter(), snap.ID); err != nil {
		return Image{}, err
	}
	p.say("%s: registering image %q of %s", r.name, p.AMIName, snap.ID)
	id, err := p.register(ctx, r, snap.ID, owed)
	if err != nil {
		return Image{}, err
	}
	if err := r.waitImage(ctx, p.waiter(), id); err != nil {
		return Image{}, err
	}
	p.say("%s: image %s is available", r.name, id)
	return Image{ImageID: id, SnapshotIDs: []string{snap.ID}, Checksum: snap.Checksum}, nil
}

// settle removes what the run made. The cause comes first in the error: it is
// what the reader wants to know.
func (p *publisher) settle(ctx context.Context, owed *ledger.Ledger, cause error) error {
	if n := len(owed.Open()); n > 0 {
		p.say("removing what was made so far (%d), for at most %s", n, p.UndoTimeout)
	}
	if err := owed.Settle(ctx, p.UndoTimeout); err != nil {
		return fmt.Errorf("%w\n%w", cause, err)
	}
	return cause
}

func (p *publisher) say(format string, args ...any) {
	p.uiLock.Lock()
	defer p.uiLock.Unlock()
	p.ui.Say(fmt.Sprintf(format, args...))
}

// precheck finds, before anything is made, what would stop the run in any of
// the regions, and reports all of it.
func (p *publisher) precheck(ctx context.Context, disk *sparse.Disk) error {
	errs := make([]error, len(p.regions)+1)
	errs[len(p.regions)] = p.checkDisk(disk)
	var wg sync.WaitGroup
	for i, r := range p.regions {
		wg.Go(func() { errs[i] = r.nameIsFree(ctx, p.AMIName) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *publisher) checkDisk(disk *sparse.Disk) error {
	data, err := disk.DataBytes()
	switch {
	case err != nil:
		return err
	case data == 0:
		return fmt.Errorf("the disk of %s holds no data at all: nothing to publish", size(disk.Size()))
	case p.VolumeSize > 0 && p.VolumeSize < disk.SizeGiB():
		return fmt.Errorf("volume_size: must be at least the %d GiB of the disk, is %d: raise it or leave it out", disk.SizeGiB(), p.VolumeSize)
	default:
		return nil
	}
}
