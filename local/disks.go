// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/local/ec2"
	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Snapshot fills the pending snapshots of a job, then settles its image.
func (f *fleet) Snapshot(region string, job ec2.SnapshotJob) {
	ids := []string{}
	if job.InstanceID != "" {
		ids = append(ids, job.InstanceID)
	}
	for _, volume := range job.Volumes {
		ids = append(ids, volume)
	}
	f.job(ids, func() error {
		err := f.still(region, job, func(ctx context.Context) error {
			var errs []error
			for snapshot, volume := range job.Volumes {
				errs = append(errs, f.fill(ctx, region, snapshot, volume))
			}
			return errors.Join(errs...)
		})
		return errors.Join(err, f.settleImage(region, job, err))
	})
}

// still runs work while nothing writes to the volumes: with Reboot the guest
// shuts down before and boots again after, else it stands still meanwhile. A
// guest that does not boot again is told by its instance's record.
func (f *fleet) still(region string, job ec2.SnapshotJob, work func(context.Context) error) error {
	if job.InstanceID == "" {
		return work(f.ctx)
	}
	inst, ok := f.get(region, job.InstanceID)
	if !ok || !job.Reboot || inst.State != store.InstanceRunning {
		return f.machines.Frozen(f.ctx, job.InstanceID, work)
	}
	if err := f.powerOff(inst.ID, false); err != nil {
		return err
	}
	err := work(f.ctx)
	inst, ok = f.get(region, inst.ID) // it may have got another volume, or be on its way out
	if !ok || inst.State != store.InstanceRunning || f.ctx.Err() != nil {
		return err
	}
	if failed := f.boot(region, inst); failed != nil {
		f.log.Error("instance does not boot again after its image was made", "id", inst.ID, "error", failed)
		f.exited(machine.Event{ID: inst.ID, Reason: failed.Error()})
	}
	return err
}

// fill makes one snapshot of one volume. Whatever goes wrong is told by the
// snapshot's own state.
func (f *fleet) fill(ctx context.Context, region, snapshot, volume string) error {
	var v store.Volume
	_ = f.store.View(region, func(r *store.Region) error {
		v, _ = r.Volumes.Get(volume)
		return nil
	})
	err := f.store.Fill(region, snapshot, f.cfg.Settle, func(raw string) error { return f.copyVolume(ctx, f.disk(v), raw) })
	if err == nil || errors.Is(err, store.ErrNotFound) { // deleted meanwhile
		return nil
	}
	err = fmt.Errorf("snapshot %s of %s: %w", snapshot, volume, err)
	if failed := f.store.FailSnapshot(region, snapshot, err.Error()); failed != nil && !errors.Is(failed, store.ErrNotFound) {
		err = errors.Join(err, failed)
	}
	return err
}

// copyVolume writes what is on a volume into a raw file that is one hole.
func (f *fleet) copyVolume(ctx context.Context, d machine.Disk, raw string) error {
	if _, err := os.Stat(d.Path); err == nil {
		return f.machines.WriteRaw(ctx, d, raw)
	}
	base, err := sparse.Open(d.Base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never written: the hole is right
	}
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	out, err := os.OpenFile(raw, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(copyBlocks(ctx, base, out), out.Close())
}

func copyBlocks(ctx context.Context, from *sparse.Disk, to *os.File) error {
	buf := make([]byte, sparse.BlockSize)
	for index, err := range from.Blocks() {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = from.Read(index, buf)
		}
		if err == nil && !sparse.IsZero(buf) {
			_, err = to.WriteAt(buf, index*sparse.BlockSize)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settleImage ends the wait of an image for its snapshots.
func (f *fleet) settleImage(region string, job ec2.SnapshotJob, broken error) error {
	if job.ImageID == "" {
		return nil
	}
	return f.store.Update(region, func(r *store.Region) error {
		img, ok := r.Images.Get(job.ImageID)
		if !ok {
			return nil // deregistered meanwhile
		}
		// Not before its snapshots are.
		img.ReadyAt = f.store.Now().Add(f.cfg.Settle)
		if broken != nil {
			img.State, img.StateMessage = store.ImageFailed, "Client.InternalError: "+broken.Error()
		}
		return r.Images.Put(img)
	})
}

// Plug gives a running machine a volume that was attached to its instance.
func (f *fleet) Plug(region, id, volume string) error {
	return f.withDisk(region, id, volume, f.machines.Plug)
}

// Resize tells a running machine that a volume has grown.
func (f *fleet) Resize(region, id, volume string) error {
	return f.withDisk(region, id, volume, f.machines.Resize)
}

// withDisk lets f change a disk of the machine when no job is on either.
func (f *fleet) withDisk(region, id, volume string, change func(context.Context, string, machine.Disk) error) error {
	done := make(chan error, 1)
	f.job([]string{id, volume}, func() error {
		var v store.Volume
		_ = f.store.View(region, func(r *store.Region) error {
			v, _ = r.Volumes.Get(volume)
			return nil
		})
		done <- change(f.ctx, id, f.disk(v))
		return nil
	})
	return <-done
}

// Unplug takes a leaving volume from its machine, in the background: the guest
// has to agree. When it does not, the volume stays attached. With force it is
// taken from the record all the same, and from the machine when that ends.
func (f *fleet) Unplug(region, id, volume string, force bool) {
	f.job([]string{id, volume}, func() error {
		var v store.Volume
		_ = f.store.View(region, func(r *store.Region) error {
			v, _ = r.Volumes.Get(volume)
			return nil
		})
		if !v.Attachment.Leaving {
			return nil
		}
		err := f.machines.Unplug(f.ctx, id, f.disk(v))
		return errors.Join(err, f.store.Update(region, func(r *store.Region) error {
			v, ok := r.Volumes.Get(volume)
			if !ok {
				return nil
			}
			if v.Attachment.Leaving = false; err == nil || force {
				return r.Detach(v)
			}
			return r.Volumes.Put(v)
		}))
	})
}
