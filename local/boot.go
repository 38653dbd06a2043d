// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// boot starts the machine of an instance with its volumes.
func (f *fleet) boot(region string, inst store.Instance) error {
	dir := f.store.InstanceDir(inst.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	spec := f.spec(region, dir, inst)
	_ = f.store.View(region, func(r *store.Region) error {
		for _, v := range r.Attached(inst) {
			spec.Disks = append(spec.Disks, f.disk(v))
		}
		return nil
	})
	return f.machines.Start(f.ctx, spec)
}

// disk is a volume as a machine has it.
func (f *fleet) disk(v store.Volume) machine.Disk {
	base, path := f.store.VolumePaths(v.ID)
	return machine.Disk{ID: v.ID, Path: path, Base: base, Size: v.SizeGiB << 30}
}

func (f *fleet) spec(region, dir string, inst store.Instance) machine.Spec {
	spec := machine.Spec{
		ID: inst.ID, Dir: dir, CPUs: f.cfg.CPUs, MemoryMiB: f.cfg.MemoryMiB,
		Region: region, AvailabilityZone: inst.Zone, InstanceType: inst.InstanceType, ImageID: inst.ImageID,
		Account: f.cfg.Account, ReservationID: inst.ReservationID, KeyName: inst.KeyName, PublicKey: inst.PublicKey,
		UserData: inst.UserData, RootDevice: inst.Image.RootDeviceName, LaunchTime: inst.LaunchTime, LaunchIndex: inst.LaunchIndex,
		Forwards: f.cfg.Forwards, PublicIP: inst.PublicIP, SSHPort: f.cfg.SSHPort, Spot: inst.SpotRequestID != "",
		Profile: imds.Profile(inst.Profile),
	}
	for _, addr := range []string{inst.PrivateIP, inst.PublicIP} {
		if addr != "" {
			spec.Addresses = append(spec.Addresses, addr)
		}
	}
	for _, g := range inst.Groups {
		spec.SecurityGroups = append(spec.SecurityGroups, orText(g.Name, g.ID))
	}
	if inst.Metadata.InstanceTags == "enabled" {
		spec.Tags = inst.Tags
	}
	return spec
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
