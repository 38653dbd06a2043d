// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// sshTag shows where a machine's port 22 can be reached from the host.
const sshTag = "rightimage:local-ssh"

// terminatedFor is how long a terminated instance is still listed, as on AWS.
const terminatedFor = time.Hour

// Machines runs instances. Satisfied by *machine.Manager, and by records when
// nothing is booted.
type Machines interface {
	Start(ctx context.Context, spec machine.Spec) error
	Stop(ctx context.Context, id string, bound time.Duration) error
	Reboot(ctx context.Context, id string) error
	Console(id string) ([]byte, error)
	Status(id string) (machine.Status, error)
	Forget(id string) error
	Close() error
	// Plug, Unplug and Resize change the disks of a machine that runs, and do
	// nothing to one that does not.
	Plug(ctx context.Context, id string, d machine.Disk) error
	Unplug(ctx context.Context, id string, d machine.Disk) error
	Resize(ctx context.Context, id string, d machine.Disk) error
	// Frozen runs work while nothing writes to the machine's disks.
	Frozen(ctx context.Context, id string, work func(context.Context) error) error
	// WriteRaw writes what is on a disk into a raw file.
	WriteRaw(ctx context.Context, d machine.Disk, raw string) error
}

// fleet carries out what the EC2 API has written into records. Each job runs in
// the background, one at a time per instance and per volume, and first looks
// whether the record still wants it.
type fleet struct {
	ctx      context.Context //nolint:containedctx // jobs outlive the request that asks for them
	store    *store.Store
	machines Machines
	cfg      Config
	log      *slog.Logger

	wg    sync.WaitGroup
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

// job runs work in the background once it is the only one on these ids.
func (f *fleet) job(ids []string, work func() error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids))) // one order for all, or jobs would wait for each other
	locks := make([]*sync.Mutex, len(ids))
	f.mu.Lock()
	for i, id := range ids {
		if f.locks[id] == nil {
			f.locks[id] = &sync.Mutex{}
		}
		locks[i] = f.locks[id]
	}
	f.mu.Unlock()
	f.wg.Go(func() {
		for _, lock := range locks {
			lock.Lock()
			defer lock.Unlock()
		}
		if err := work(); err != nil {
			f.log.Error("instance", "id", ids[0], "error", err)
		}
	})
}

// withVolumes names an instance and its volumes.
func (f *fleet) withVolumes(region, id string) []string {
	ids := []string{id}
	inst, _ := f.get(region, id)
	for _, d := range inst.BlockDevices {
		ids = append(ids, d.VolumeID)
	}
	return ids
}

// Launch boots a pending instance.
func (f *fleet) Launch(region, id string) {
	f.job(f.withVolumes(region, id), func() error {
		inst, ok := f.get(region, id)
		if !ok || inst.State != store.InstancePending {
			return nil
		}
		err := f.boot(region, inst)
		status, statusErr := f.machines.Status(id)
		return errors.Join(err, f.update(region, id, func(i *store.Instance) {
			switch {
			case i.State != store.InstancePending:
				return // terminated meanwhile
			case err == nil:
				i.State, i.Booted = store.InstanceRunning, true
				if statusErr == nil && status.SSHPort > 0 {
					i.Tags = withTag(i.Tags, sshTag, fmt.Sprintf("%s:%d", status.SSHHost, status.SSHPort))
				}
			case i.Booted:
				f.ended(i, store.InstanceStopped, "Server.InternalError", err.Error())
			default:
				f.ended(i, store.InstanceTerminated, "Server.InternalError", err.Error())
			}
			f.log.Info("instance", "id", id, "state", i.State)
		}))
	})
}

// Stop shuts a stopping instance down.
func (f *fleet) Stop(region, id string, force bool) {
	f.job([]string{id}, func() error {
		if inst, ok := f.get(region, id); !ok || inst.State != store.InstanceStopping {
			return nil
		}
		err := f.powerOff(id, force)
		return errors.Join(err, f.update(region, id, func(i *store.Instance) {
			if i.State == store.InstanceStopping {
				i.State, i.PublicIP, i.Tags = store.InstanceStopped, "", withoutTag(i.Tags, sshTag)
				f.log.Info("instance", "id", id, "state", i.State)
			}
		}))
	})
}

// Terminate ends a shutting-down instance and removes its volumes.
func (f *fleet) Terminate(region, id string) {
	f.job([]string{id}, func() error {
		inst, ok := f.get(region, id)
		if !ok || inst.State != store.InstanceShuttingDown {
			return nil
		}
		err := errors.Join(f.powerOff(id, false), f.forget(id))
		return errors.Join(err, f.update(region, id, func(i *store.Instance) {
			f.ended(i, store.InstanceTerminated, i.StateCode, i.StateMessage)
			f.log.Info("instance", "id", id, "state", i.State)
		}))
	})
}

func (f *fleet) powerOff(id string, force bool) error {
	bound := f.cfg.StopBound
	if force {
		bound = 0
	}
	if err := f.machines.Stop(f.ctx, id, bound); err != nil && !errors.Is(err, machine.ErrUnknown) {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// forget drops the machine; its logs stay until the record goes.
func (f *fleet) forget(id string) error {
	if err := f.machines.Forget(id); err != nil && !errors.Is(err, machine.ErrUnknown) {
		return err
	}
	return nil
}

// Reboot restarts a running instance.
func (f *fleet) Reboot(region, id string) {
	f.job([]string{id}, func() error {
		if inst, ok := f.get(region, id); !ok || inst.State != store.InstanceRunning {
			return nil
		}
		f.log.Info("instance", "id", id, "state", "rebooting")
		return f.machines.Reboot(f.ctx, id)
	})
}

// exited hears of a guest that powered itself off, or of QEMU dying.
func (f *fleet) exited(e machine.Event) {
	region, inst, ok := f.find(e.ID)
	if !ok || inst.State != store.InstanceRunning {
		return
	}
	code, message := "Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
	if !e.PoweredOff {
		code, message = "Server.InternalError", "Server.InternalError: "+e.Reason
	}
	end := e.PoweredOff && inst.ShutdownBehavior == "terminate"
	err := f.update(region, e.ID, func(i *store.Instance) {
		if end {
			i.State, i.StateCode, i.StateMessage = store.InstanceShuttingDown, code, message
			return
		}
		f.ended(i, store.InstanceStopped, code, message)
	})
	if err != nil {
		f.log.Error("instance", "id", e.ID, "error", err)
	}
	f.log.Info("instance went down by itself", "id", e.ID, "reason", e.Reason)
	if end {
		f.Terminate(region, e.ID)
	}
}
