// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
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
}

// fleet carries out what the EC2 API has written into instance records. Each
// job runs in the background, one at a time per instance, and first looks
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

func (f *fleet) job(id string, work func() error) {
	f.mu.Lock()
	lock, ok := f.locks[id]
	if !ok {
		lock = &sync.Mutex{}
		f.locks[id] = lock
	}
	f.mu.Unlock()
	f.wg.Go(func() {
		lock.Lock()
		defer lock.Unlock()
		if err := work(); err != nil {
			f.log.Error("instance", "id", id, "error", err)
		}
	})
}

// Launch boots a pending instance.
func (f *fleet) Launch(region, id string) {
	f.job(id, func() error {
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
				i.State, i.Booted, i.PrivateIP = store.InstanceRunning, true, machine.GuestIP
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

// boot gives the instance its own link to the snapshot, which may be deleted
// while the instance lives, and starts the machine.
func (f *fleet) boot(region string, inst store.Instance) error {
	dir := f.store.InstanceDir(inst.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	spec := f.spec(region, dir, inst)
	for _, d := range inst.BlockDevices {
		if d.DeviceName != inst.Image.RootDeviceName {
			continue
		}
		spec.DiskSize = d.SizeGiB << 30
		if _, err := os.Stat(spec.RawDisk); err == nil {
			continue // a further boot; the snapshot may be gone by now
		}
		if err := os.Link(f.store.RawPath(region, d.SnapshotID), spec.RawDisk); err != nil {
			return fmt.Errorf("launch: %w", err)
		}
	}
	return f.machines.Start(f.ctx, spec)
}

func (f *fleet) spec(region, dir string, inst store.Instance) machine.Spec {
	spec := machine.Spec{
		ID: inst.ID, Dir: dir, RawDisk: filepath.Join(dir, "base.raw"),
		CPUs: f.cfg.CPUs, MemoryMiB: f.cfg.MemoryMiB,
		Region: region, AvailabilityZone: inst.Zone, InstanceType: inst.InstanceType, ImageID: inst.ImageID,
		Account: f.cfg.Account, ReservationID: inst.ReservationID, KeyName: inst.KeyName, PublicKey: inst.PublicKey,
		UserData: inst.UserData, RootDevice: inst.Image.RootDeviceName, LaunchTime: inst.LaunchTime, Forwards: f.cfg.Forwards,
	}
	for _, g := range inst.Groups {
		spec.SecurityGroups = append(spec.SecurityGroups, orText(g.Name, g.ID))
	}
	if inst.Metadata.InstanceTags == "enabled" {
		spec.Tags = inst.Tags
	}
	return spec
}

// Stop shuts a stopping instance down.
func (f *fleet) Stop(region, id string, force bool) {
	f.job(id, func() error {
		if inst, ok := f.get(region, id); !ok || inst.State != store.InstanceStopping {
			return nil
		}
		err := f.powerOff(id, force)
		return errors.Join(err, f.update(region, id, func(i *store.Instance) {
			if i.State == store.InstanceStopping {
				i.State, i.Tags = store.InstanceStopped, withoutTag(i.Tags, sshTag)
				f.log.Info("instance", "id", id, "state", i.State)
			}
		}))
	})
}

// Terminate ends a shutting-down instance and removes its disk.
func (f *fleet) Terminate(region, id string) {
	f.job(id, func() error {
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

// forget removes the disk; the logs stay until the record goes.
func (f *fleet) forget(id string) error {
	errs := []error{}
	if err := f.machines.Forget(id); err != nil && !errors.Is(err, machine.ErrUnknown) {
		errs = append(errs, err)
	}
	for _, name := range []string{"overlay.qcow2", "base.raw"} {
		if err := os.Remove(filepath.Join(f.store.InstanceDir(id), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Reboot restarts a running instance.
func (f *fleet) Reboot(region, id string) {
	f.job(id, func() error {
		if inst, ok := f.get(region, id); !ok || inst.State != store.InstanceRunning {
			return nil
		}
		f.log.Info("instance", "id", id, "state", "rebooting")
		return f.machines.Reboot(f.ctx, id)
	})
}

// Console returns the console log, also of an instance that is gone.
func (f *fleet) Console(_, id string) ([]byte, error) {
	text, err := f.machines.Console(id)
	if !errors.Is(err, machine.ErrUnknown) {
		return text, err
	}
	text, err = os.ReadFile(filepath.Join(f.store.InstanceDir(id), "console.log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// Supports says why a machine cannot be booted here.
func (f *fleet) Supports(architecture, bootMode string) string {
	native := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	switch {
	case f.cfg.NoBoot:
		return ""
	case architecture != native:
		return fmt.Sprintf("The local cloud on this host boots %s images, but the image is %s. Start it with --no-boot for instances that are only records.", native, architecture)
	case bootMode == "uefi":
		return "The local cloud boots images with BIOS firmware only, but the image has the boot mode uefi. Start it with --no-boot for instances that are only records."
	}
	return ""
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
