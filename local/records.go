// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (f *fleet) get(region, id string) (inst store.Instance, ok bool) {
	_ = f.store.View(region, func(r *store.Region) error {
		inst, ok = r.Instances.Get(id)
		return nil
	})
	return inst, ok
}

// find looks for an instance in all regions.
func (f *fleet) find(id string) (string, store.Instance, bool) {
	for _, region := range f.store.Regions() {
		if inst, ok := f.get(region, id); ok {
			return region, inst, true
		}
	}
	return "", store.Instance{}, false
}

func (f *fleet) update(region, id string, change func(*store.Instance)) error {
	return f.store.Update(region, func(r *store.Region) error {
		inst, ok := r.Instances.Get(id)
		if !ok {
			return nil
		}
		change(&inst)
		var err error
		if inst.State == store.InstanceTerminated {
			err = f.store.Release(r, &inst)
		}
		return errors.Join(err, r.Instances.Put(inst))
	})
}

// ended puts a record into a resting state.
func (f *fleet) ended(i *store.Instance, state, code, message string) {
	i.State, i.StateCode, i.StateMessage = state, code, message
	i.EndTime, i.Tags = f.store.Now().UTC(), withoutTag(i.Tags, sshTag)
	i.PublicIP = ""
	if state == store.InstanceTerminated {
		i.PrivateIP = ""
	}
}

// settle brings records of an earlier run to a resting state: machines do not
// outlive the server. Records without machines just go on.
func (f *fleet) settle() error {
	var errs []error
	for _, region := range f.store.Regions() {
		for _, inst := range f.all(region) {
			errs = append(errs, f.settleOne(region, inst))
		}
		errs = append(errs, f.store.Update(region, f.settleDisks))
	}
	return errors.Join(errs...)
}

// settleDisks ends what was cut off: snapshots of volumes, the images that wait
// for them, and volumes that were on their way out.
func (f *fleet) settleDisks(r *store.Region) error {
	const why = "the local cloud was shut down before the snapshot was complete"
	var errs []error
	for _, snap := range r.Snapshots.All() {
		if snap.FromVolume() && !snap.Sealed && snap.FailWith == "" {
			snap.FailWith, snap.CompletedAt = why, f.store.Now()
			errs = append(errs, r.Snapshots.Put(snap))
		}
	}
	for _, img := range r.Images.All() {
		if img.ReadyAt.Equal(store.Unknown()) {
			img.ReadyAt, img.State, img.StateMessage = f.store.Now(), store.ImageFailed, why
			errs = append(errs, r.Images.Put(img))
		}
	}
	for _, v := range r.Volumes.All() {
		if v.Attachment.Leaving {
			errs = append(errs, r.Detach(v))
		}
	}
	return errors.Join(errs...)
}

func (f *fleet) settleOne(region string, inst store.Instance) error {
	switch inst.State {
	case store.InstanceShuttingDown:
		return errors.Join(f.forget(inst.ID), f.update(region, inst.ID, func(i *store.Instance) {
			f.ended(i, store.InstanceTerminated, i.StateCode, i.StateMessage)
		}))
	case store.InstanceStopping:
		return f.update(region, inst.ID, func(i *store.Instance) { f.ended(i, store.InstanceStopped, i.StateCode, i.StateMessage) })
	case store.InstancePending, store.InstanceRunning:
		return f.update(region, inst.ID, func(i *store.Instance) {
			switch {
			case f.cfg.NoBoot:
				i.State = store.InstanceRunning
			case i.Booted:
				f.ended(i, store.InstanceStopped, "Server.ScheduledStop", "Server.ScheduledStop: the local cloud was shut down")
			default:
				f.ended(i, store.InstanceTerminated, "Server.InternalError", "Server.InternalError: the local cloud was shut down before the instance ran")
			}
		})
	}
	return nil
}

// purge drops instances that were terminated long ago.
func (f *fleet) purge() error {
	var errs []error
	for _, region := range f.store.Regions() {
		for _, inst := range f.all(region) {
			if inst.State != store.InstanceTerminated || f.store.Now().Sub(inst.EndTime) < terminatedFor {
				continue
			}
			errs = append(errs, os.RemoveAll(f.store.InstanceDir(inst.ID)),
				f.store.Update(region, func(r *store.Region) error { return r.Instances.Delete(inst.ID) }))
		}
	}
	return errors.Join(errs...)
}

func (f *fleet) all(region string) (rows []store.Instance) {
	_ = f.store.View(region, func(r *store.Region) error {
		rows = r.Instances.All()
		return nil
	})
	return rows
}

func withTag(tags map[string]string, key, value string) map[string]string {
	out := maps.Clone(tags)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

func withoutTag(tags map[string]string, key string) map[string]string {
	out := maps.Clone(tags)
	delete(out, key)
	return out
}

// records are the Machines of a cloud that boots nothing: whatever is asked of
// them has happened.
type records struct{}

func (records) Start(context.Context, machine.Spec) error            { return nil }
func (records) Stop(context.Context, string, time.Duration) error    { return nil }
func (records) Reboot(context.Context, string) error                 { return nil }
func (records) Forget(string) error                                  { return nil }
func (records) Close() error                                         { return nil }
func (records) Status(id string) (machine.Status, error)             { return machine.Status{ID: id}, nil }
func (records) Plug(context.Context, string, machine.Disk) error     { return nil }
func (records) Unplug(context.Context, string, machine.Disk) error   { return nil }
func (records) Resize(context.Context, string, machine.Disk) error   { return nil }
func (records) WriteRaw(context.Context, machine.Disk, string) error { return machine.ErrUnknown }
func (records) Frozen(ctx context.Context, _ string, work func(context.Context) error) error {
	return work(ctx)
}
func (records) Console(id string) ([]byte, error) {
	return fmt.Appendf(nil, "%s is a record only: the local cloud runs with --no-boot, so nothing was booted.\n", id), nil
}
