// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/kms"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

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
			Encrypted:           m.flag("Ebs.Encrypted", false),
			KmsKeyID:            m.str("Ebs.KmsKeyId"),
			DeleteOnTermination: m.flag("Ebs.DeleteOnTermination", true),
		}
		m.ignore("NoDevice")
		if d.DeviceName == "" {
			p.fail(missing(m.path + ".DeviceName"))
		}
		if d.KmsKeyID != "" && !d.Encrypted {
			p.fail(keyWithoutEncryption())
		}
		out = append(out, d)
	}
	return out
}

func keyWithoutEncryption() error {
	return call.Errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
}

// fillDevices checks the snapshots of a mapping and fills in sizes, types and
// encryption, as volumes made of it have them.
func (s *Service) fillDevices(reg *store.Region, devices []store.BlockDevice) error {
	for i := range devices {
		d := &devices[i]
		if d.NoDevice || d.VirtualName != "" {
			continue
		}
		snap, err := s.deviceSnapshot(reg, *d)
		if err != nil {
			return err
		}
		d.VolumeType = orText(d.VolumeType, "gp2")
		if d.SizeGiB == 0 {
			d.SizeGiB = snap.SizeGiB
		}
		if err := checkVolume(*d); err != nil {
			return err
		}
		key, encrypted, ok := s.encryption(reg, d.Encrypted, d.KmsKeyID, snap)
		if !ok {
			return call.Errorf("InvalidParameterValue", "The KMS key '%s' does not exist in %s.", d.KmsKeyID, reg.Name)
		}
		d.Encrypted, d.KmsKeyID = encrypted, key
	}
	return nil
}

// deviceSnapshot finds the snapshot of a device; a blank device has none, and
// needs a size instead.
func (s *Service) deviceSnapshot(reg *store.Region, d store.BlockDevice) (snap store.Snapshot, err error) {
	if d.SnapshotID == "" {
		if d.SizeGiB == 0 {
			err = call.Errorf("InvalidBlockDeviceMapping", "The device %s needs a snapshot or a volume size.", d.DeviceName)
		}
		return snap, err
	}
	if snap, err = s.findSnapshot(reg, d.SnapshotID); err != nil {
		return snap, err
	}
	if snap.State != store.SnapshotCompleted {
		return snap, call.Errorf("IncorrectState", "The snapshot '%s' is in the state '%s'; it must be 'completed'.", snap.ID, snap.State)
	}
	if d.SizeGiB != 0 && d.SizeGiB < snap.SizeGiB {
		return snap, call.Errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", d.SizeGiB, snap.ID, snap.SizeGiB)
	}
	return snap, nil
}

// checkVolume holds the rules between type, size, IOPS and throughput, from the
// EBS user guide.
func checkVolume(d store.BlockDevice) error {
	provisioned := d.VolumeType == "io1" || d.VolumeType == "io2"
	gp3 := d.VolumeType == "gp3"
	switch iops := max(d.IOPS, 3000); {
	case provisioned && d.IOPS == 0:
		return call.Errorf("MissingParameter", "The parameter iops must be specified for %s volumes.", d.VolumeType)
	case d.IOPS != 0 && !provisioned && !gp3:
		return call.Errorf("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", d.VolumeType)
	case d.Throughput != 0 && !gp3:
		return call.Errorf("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", d.VolumeType)
	case gp3 && d.IOPS != 0 && d.IOPS < 3000:
		return call.Errorf("InvalidParameterValue", "Volume iops of %d is too low; minimum is 3000.", d.IOPS)
	case gp3 && iops > 3000 && iops > 500*d.SizeGiB:
		return call.Errorf("InvalidParameterValue", "Iops to volume size ratio of %d is too high; maximum is 500.", iops/d.SizeGiB)
	case gp3 && 4*d.Throughput > iops:
		return call.Errorf("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %.6f is too high; maximum is 0.250000 MiBps per iops.", float64(d.Throughput)/float64(iops))
	case provisioned && d.IOPS > 1000*d.SizeGiB:
		return call.Errorf("InvalidParameterValue", "Iops to volume size ratio of %d is too high; maximum is 1000.", d.IOPS/d.SizeGiB)
	}
	return nil
}

// encryption decides whether something made of a snapshot (the zero one: of
// nothing) is encrypted and with which key (an ARN); false when the key is not
// one of this region.
func (s *Service) encryption(reg *store.Region, wanted bool, key string, of store.Snapshot) (arn string, encrypted, ok bool) {
	settings := reg.Settings()
	switch {
	case !wanted && !of.Encrypted && !settings.EncryptByDefault:
		return "", false, true
	case key != "":
		arn, ok = kms.Resolve(reg.Name, s.Account, key)
		return arn, true, ok
	case of.KmsKeyID != "" && !wanted:
		return of.KmsKeyID, true, true
	}
	return s.defaultKey(reg), true, true
}

// defaultKey is the key that encrypts when none is named.
func (s *Service) defaultKey(reg *store.Region) string {
	return orText(reg.Settings().DefaultKmsKeyID, kms.Managed(reg.Name, s.Account))
}
