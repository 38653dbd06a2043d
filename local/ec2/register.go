// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type registerImageReply struct {
	meta
	ImageID string `xml:"imageId"`
}

// registerImage makes an AMI of completed snapshots. As on AWS, a request that
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
		UefiData:           r.str("UefiData"),
		SriovNetSupport:    r.oneOf("SriovNetSupport", "", "simple"),
		EnaSupport:         r.flag("EnaSupport", false),
		RootDeviceName:     r.str("RootDeviceName"),
		BlockDevices:       r.blockDevices(),
		Tags:               r.tagSpecs("image")["image"],
		CreationDate:       s.Store.Now().UTC(),
		ReadyAt:            s.Store.Now().Add(s.Settle).UTC(),
	}
	for _, m := range r.each("BlockDeviceMapping") {
		if m.has("Ebs.Encrypted") && m.has("Ebs.SnapshotId") || m.has("Ebs.KmsKeyId") {
			r.fail(call.Errorf("InvalidBlockDeviceMapping", "A device of an image is encrypted as its snapshot is: leave out Encrypted, and KmsKeyId."))
		}
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
		if err := s.freeName(reg, img.Name); err != nil {
			return err
		}
		if err := s.fillDevices(reg, img.BlockDevices); err != nil {
			return err
		}
		for i, d := range img.BlockDevices {
			if snap, ok := reg.Snapshots.Get(d.SnapshotID); ok {
				img.BlockDevices[i].Encrypted, img.BlockDevices[i].KmsKeyID = snap.Encrypted, ""
			}
		}
		return reg.Images.Put(img)
	})
	if err != nil {
		return nil, err
	}
	return &registerImageReply{ImageID: img.ID}, nil
}

// freeName refuses a name that an image has already. One that failed has none.
func (s *Service) freeName(reg *store.Region, name string) error {
	for _, other := range s.Store.Images(reg) {
		if other.Name == name && other.State != store.ImageFailed {
			return call.Errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, other.ID)
		}
	}
	return nil
}

// checkName holds the rules for the name and the description of an image.
func checkName(name, description string) error {
	// From the API reference: 3 to 128 characters of these.
	amiName := regexp.MustCompile(`\A[a-zA-Z0-9()\[\] ./\-'@_]{3,128}\z`)
	switch {
	case name == "":
		return missing("name")
	case !amiName.MatchString(name):
		return call.Errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, spaces, and the characters ( ) [ ] . - / ' @ _")
	case len(description) > 255 || strings.IndexFunc(description, func(r rune) bool { return r > 0x7e }) >= 0:
		return call.Errorf("InvalidParameterValue", "Character sets beyond ASCII are not supported in the description, which can have at most 255 characters.")
	}
	return nil
}

// maxUefiData is generous: the UEFI variables of an image, compressed.
const maxUefiData = 64 << 10

// checkImage holds the rules of RegisterImage that need no state.
func checkImage(img store.Image) error {
	if err := checkName(img.Name, img.Description); err != nil {
		return err
	}
	uefi, err := base64.StdEncoding.DecodeString(img.UefiData)
	switch {
	case err != nil || len(uefi) > maxUefiData:
		return call.Errorf("InvalidParameterValue", "UefiData must be base64 of at most %d bytes.", maxUefiData)
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
