// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type registerImageReply struct {
	meta
	ImageID string `xml:"imageId"`
}

// registerImage makes an AMI of a completed snapshot. As on AWS, a request that
// names neither gets architecture i386 and paravirtual virtualization.
func (s *Service) registerImage(r *request) (reply, error) {
	img := store.Image{
		ID:                 store.NewID("ami"),
		Name:               r.str("Name"),
		Description:        r.str("Description"),
		Architecture:       r.oneOf("Architecture", "i386", "i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"),
		VirtualizationType: r.oneOf("VirtualizationType", "paravirtual", "hvm", "paravirtual"),
		BootMode:           r.oneOf("BootMode", "", "legacy-bios", "uefi", "uefi-preferred"),
		ImdsSupport:        r.oneOf("ImdsSupport", "", "v2.0"),
		TpmSupport:         r.oneOf("TpmSupport", "", "v2.0"),
		SriovNetSupport:    r.oneOf("SriovNetSupport", "", "simple"),
		EnaSupport:         r.flag("EnaSupport", false),
		RootDeviceName:     r.str("RootDeviceName"),
		BlockDevices:       r.blockDevices(),
		Tags:               r.tagSpecs("image")["image"],
		CreationDate:       s.Store.Now().UTC(),
	}
	if r.has("ImageLocation") {
		return nil, call.Errorf("UnsupportedOperation", "The local cloud has no images in S3: register a snapshot with BlockDeviceMapping instead of ImageLocation.")
	}
	if err := checkImage(img); err != nil {
		r.fail(err)
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, other := range reg.Images.All() {
			if other.Name == img.Name {
				return call.Errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", img.Name, other.ID)
			}
		}
		if err := s.fillDevices(reg, img.BlockDevices); err != nil {
			return err
		}
		return reg.Images.Put(img)
	})
	if err != nil {
		return nil, err
	}
	return &registerImageReply{ImageID: img.ID}, nil
}

// checkImage holds the rules of RegisterImage that need no state.
func checkImage(img store.Image) error {
	// From the API reference: 3 to 128 characters of these.
	amiName := regexp.MustCompile(`\A[a-zA-Z0-9()\[\] ./\-'@_]{3,128}\z`)
	switch {
	case img.Name == "":
		return missing("name")
	case !amiName.MatchString(img.Name):
		return call.Errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, spaces, and the characters ( ) [ ] . - / ' @ _")
	case len(img.Description) > 255 || strings.IndexFunc(img.Description, func(r rune) bool { return r > 0x7e }) >= 0:
		return call.Errorf("InvalidParameterValue", "Character sets beyond ASCII are not supported in the description, which can have at most 255 characters.")
	case len(img.BlockDevices) == 0:
		return call.Errorf("InvalidRequest", "The request must contain a block device mapping with the snapshot of the root device.")
	case img.RootDeviceName == "":
		return missing("rootDeviceName")
	case img.TpmSupport != "" && img.BootMode != "uefi":
		return call.Errorf("InvalidParameterCombination", "TpmSupport v2.0 needs the boot mode uefi.")
	}
	seen := map[string]bool{}
	for _, d := range img.BlockDevices {
		if seen[d.DeviceName] {
			return call.Errorf("InvalidBlockDeviceMapping", "Duplicate device name %s", d.DeviceName)
		}
		seen[d.DeviceName] = true
	}
	root, ok := img.Root()
	if !ok || root.SnapshotID == "" {
		return call.Errorf("InvalidBlockDeviceMapping", "The root device %s must be mapped to a snapshot.", img.RootDeviceName)
	}
	return nil
}

// blockDevices reads BlockDeviceMapping.N.
func (p params) blockDevices() []store.BlockDevice {
	var out []store.BlockDevice
	for _, m := range p.each("BlockDeviceMapping") {
		d := store.BlockDevice{
			DeviceName:          m.str("DeviceName"),
			VirtualName:         m.str("VirtualName"),
			NoDevice:            m.has("NoDevice"),
			SnapshotID:          m.str("Ebs.SnapshotId"),
			SizeGiB:             m.number("Ebs.VolumeSize", 0, 1, 64<<10),
			VolumeType:          m.oneOf("Ebs.VolumeType", "", "standard", "gp2", "gp3", "io1", "io2", "sc1", "st1"),
			IOPS:                m.number("Ebs.Iops", 0, 100, 256000),
			Throughput:          m.number("Ebs.Throughput", 0, 125, 2000),
			DeleteOnTermination: m.flag("Ebs.DeleteOnTermination", true),
		}
		m.ignore("NoDevice")
		if m.flag("Ebs.Encrypted", false) {
			p.fail(call.Errorf("UnsupportedOperation", "The local cloud has no encrypted volumes."))
		}
		if d.DeviceName == "" {
			p.fail(missing(m.path + ".DeviceName"))
		}
		out = append(out, d)
	}
	return out
}

// fillDevices checks the snapshots of a mapping and fills in sizes and types.
func (s *Service) fillDevices(reg *store.Region, devices []store.BlockDevice) error {
	for i, d := range devices {
		if d.NoDevice || d.VirtualName != "" {
			continue
		}
		if d.VolumeType == "" {
			devices[i].VolumeType = "gp2"
		}
		if d.SnapshotID == "" {
			if d.SizeGiB == 0 {
				return call.Errorf("InvalidBlockDeviceMapping", "The device %s needs a snapshot or a volume size.", d.DeviceName)
			}
			continue
		}
		snap, err := s.findSnapshot(reg, d.SnapshotID)
		if err != nil {
			return err
		}
		if snap.State != store.SnapshotCompleted {
			return call.Errorf("IncorrectState", "The snapshot '%s' is in the state '%s'; it must be 'completed'.", snap.ID, snap.State)
		}
		if d.SizeGiB == 0 {
			devices[i].SizeGiB = snap.SizeGiB
		} else if d.SizeGiB < snap.SizeGiB {
			return call.Errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", d.SizeGiB, snap.ID, snap.SizeGiB)
		}
	}
	return nil
}
