// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// launch records new instances with their volumes. The caller is inside Update,
// and starts them.
func (s *Service) launch(reg *store.Region, req launch) ([]store.Instance, error) {
	if err := s.checkLaunch(reg, &req); err != nil {
		return nil, err
	}
	var launched []store.Instance
	for i := range req.max {
		inst := req.template
		inst.ID, inst.LaunchIndex = store.NewID("i"), int(i)
		if req.spot {
			inst.SpotRequestID = store.NewID("sir")
		}
		if err := place(reg, &inst); err != nil {
			return nil, err
		}
		inst.BlockDevices = slices.Clone(req.devices)
		for d := range inst.BlockDevices {
			dev := &inst.BlockDevices[d]
			dev.VolumeID = store.NewID("vol")
			if err := s.Store.CreateVolume(reg, s.volumeOf(inst, *dev, req.volumeTags)); err != nil {
				return nil, err
			}
		}
		if err := reg.Instances.Put(inst); err != nil {
			return nil, err
		}
		launched = append(launched, inst)
	}
	return launched, nil
}

// volumeOf is the volume that an instance is launched with.
func (s *Service) volumeOf(inst store.Instance, d store.BlockDevice, tags map[string]string) store.Volume {
	return store.Volume{
		ID: d.VolumeID, SnapshotID: d.SnapshotID, SizeGiB: d.SizeGiB, Type: d.VolumeType, IOPS: d.IOPS, Throughput: d.Throughput,
		Encrypted: d.Encrypted, KmsKeyID: d.KmsKeyID, Zone: inst.Zone, Created: inst.LaunchTime, Tags: tags,
		Attachment: store.Attachment{InstanceID: inst.ID, Device: d.DeviceName, Time: inst.LaunchTime, DeleteOnTermination: d.DeleteOnTermination},
	}
}

// checkLaunch holds the rules that need state, and completes the request.
func (s *Service) checkLaunch(reg *store.Region, req *launch) error {
	inst := &req.template
	img, err := s.usableImage(reg, inst.ImageID)
	if err != nil {
		return err
	}
	if err := checkType(inst.InstanceType, img); err != nil {
		return err
	}
	if why := s.Fleet.Supports(img.Architecture, img.BootMode); why != "" {
		return call.Errorf("UnsupportedOperation", "%s", why)
	}
	if err := fillKey(reg, inst); err != nil {
		return err
	}
	if err := s.fillProfile(inst, req.profile); err != nil {
		return err
	}
	if err := fillNetwork(reg, req); err != nil {
		return err
	}
	// An image that asks for IMDSv2 launches with it, and with a hop limit of 2.
	if img.ImdsSupport == "v2.0" {
		inst.Metadata.HTTPTokens = orText(inst.Metadata.HTTPTokens, "required")
		inst.Metadata.HopLimit = max(inst.Metadata.HopLimit, 2)
	}
	inst.Metadata.HTTPTokens = orText(inst.Metadata.HTTPTokens, "optional")
	inst.Metadata.HopLimit = max(inst.Metadata.HopLimit, 1)
	inst.Image = img
	devices, err := mergeDevices(img, req.devices)
	if err != nil {
		return err
	}
	req.devices = devices
	return s.fillDevices(reg, req.devices)
}

func orText(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

func checkType(name string, img store.Image) error {
	t, ok := lookupType(name)
	switch {
	case !ok:
		return call.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", name)
	case img.VirtualizationType != "hvm":
		return call.Errorf("InvalidParameterCombination", "The virtualization type '%s' of %s is not supported by the instance type '%s'. Register the image with VirtualizationType hvm.", img.VirtualizationType, img.ID, name)
	case t.architecture != img.Architecture:
		return call.Errorf("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", t.architecture, img.Architecture)
	case t.needsENA && !img.EnaSupport:
		return call.Errorf("InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '%s' instance type. Ensure that you are using an AMI that is enabled for ENA.", name)
	}
	return nil
}

func fillKey(reg *store.Region, inst *store.Instance) error {
	if inst.KeyName == "" {
		return nil
	}
	for _, k := range reg.KeyPairs.All() {
		if k.Name == inst.KeyName {
			inst.PublicKey = k.PublicKey
			return nil
		}
	}
	return call.Errorf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", inst.KeyName)
}

// fillProfile finds the instance profile by its name or ARN.
func (s *Service) fillProfile(inst *store.Instance, profile string) error {
	if profile == "" {
		return nil
	}
	global, err := s.Store.Peer(store.Global)
	if err != nil {
		return err
	}
	for _, p := range global.InstanceProfiles.All() {
		if arn := p.ARN(s.Account); p.Name == profile || arn == profile {
			inst.Profile = store.Profile{ARN: arn, ID: p.ID, Role: p.Role}
			return nil
		}
	}
	return call.Errorf("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", profile)
}

// mergeDevices lays the mapping of the launch over that of the image. What is
// left are the volumes that the instance gets.
func mergeDevices(img store.Image, over []store.BlockDevice) ([]store.BlockDevice, error) {
	out := slices.Clone(img.BlockDevices)
	for i := range out {
		if out[i].SnapshotID != "" { // which says how it is encrypted
			out[i].Encrypted, out[i].KmsKeyID = false, ""
		}
	}
	for _, d := range over {
		at := slices.IndexFunc(out, func(o store.BlockDevice) bool { return o.DeviceName == d.DeviceName })
		root := d.DeviceName == img.RootDeviceName
		switch {
		case at < 0 && d.NoDevice:
			continue // nothing to leave out
		case at < 0:
			out = append(out, d)
			continue
		case root && (d.NoDevice || d.VirtualName != "" || d.SnapshotID != "" && d.SnapshotID != out[at].SnapshotID):
			return nil, call.Errorf("InvalidBlockDeviceMapping", "The root device %s cannot be removed or get another snapshot.", d.DeviceName)
		}
		if d.SnapshotID == "" && !d.NoDevice && d.VirtualName == "" {
			d.SnapshotID = out[at].SnapshotID
			d.VolumeType = orText(d.VolumeType, out[at].VolumeType)
			d.Encrypted = d.Encrypted || out[at].Encrypted
			d.KmsKeyID = orText(d.KmsKeyID, out[at].KmsKeyID)
			d.SizeGiB = orNumber(d.SizeGiB, out[at].SizeGiB)
		}
		out[at] = d
	}
	// Instance types have no disks of their own here, and what has none is left out, as on AWS.
	out = slices.DeleteFunc(out, func(d store.BlockDevice) bool { return d.NoDevice || d.VirtualName != "" })
	if len(out) > maxVolumes {
		return nil, call.Errorf("AttachmentLimitExceeded", "The local cloud gives an instance at most %d volumes.", maxVolumes)
	}
	return out, nil
}

// maxVolumes is what fits into the machine's one PCI bus, with its other devices.
const maxVolumes = 20
