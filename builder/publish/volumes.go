// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// BlockDevice is a device of an image besides its root, or of a build machine.
type BlockDevice struct {
	// Name of the device, such as `/dev/sdf`.
	DeviceName string `mapstructure:"device_name"`
	// Instance store volume, such as `ephemeral0`.
	VirtualName string `mapstructure:"virtual_name"`
	// Leave out the device that the source has under this name.
	NoDevice bool `mapstructure:"no_device"`
	// Snapshot that the volume is made of.
	SnapshotID string `mapstructure:"snapshot_id"`
	// Size in GiB. Default: that of the snapshot.
	VolumeSize int64 `mapstructure:"volume_size"`
	// `gp3` (the default), `gp2`, `io1`, `io2`, `st1`, `sc1` or `standard`.
	VolumeType string `mapstructure:"volume_type"`
	// IOPS, for `gp3`, `io1` and `io2`.
	IOPS int64 `mapstructure:"iops"`
	// Throughput in MiB/s, for `gp3`.
	Throughput int64 `mapstructure:"throughput"`
	// Encrypt the volume. Default: as the snapshot or the account's default is.
	Encrypted config.Trilean `mapstructure:"encrypted"`
	// KMS key of the volume, for the devices of a build machine.
	KmsKeyID string `mapstructure:"kms_key_id"`
	// Delete the volume with its instance. Default true.
	DeleteOnTermination config.Trilean `mapstructure:"delete_on_termination"`
}

// limits are what EBS allows of a volume type. Zero: not to be set.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
type limits struct {
	minGiB, maxGiB         int64
	minIOPS, maxIOPS       int64
	perGiB                 int64 // IOPS per GiB
	freeIOPS               int64 // that perGiB does not bound
	minThrough, maxThrough int64 // MiB/s
	root                   bool
}

func volumeLimits() map[string]limits {
	return map[string]limits{
		string(types.VolumeTypeGp3):      {1, 65536, 3000, 80000, 500, 3000, 125, 2000, true},
		string(types.VolumeTypeGp2):      {1, 16384, 0, 0, 0, 0, 0, 0, true},
		string(types.VolumeTypeIo1):      {4, 16384, 100, 64000, 50, 0, 0, 0, true},
		string(types.VolumeTypeIo2):      {4, 65536, 100, 256000, 1000, 0, 0, 0, true},
		string(types.VolumeTypeSt1):      {125, 16384, 0, 0, 0, 0, 0, 0, false},
		string(types.VolumeTypeSc1):      {125, 16384, 0, 0, 0, 0, 0, 0, false},
		string(types.VolumeTypeStandard): {1, 1024, 0, 0, 0, 0, 0, 0, true},
	}
}

func volumeTypes(root bool) []string {
	var names []string
	for name, l := range volumeLimits() {
		if l.root || !root {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// volume is the part of a device that the limits are about.
type volume struct {
	kind                   string
	size, iops, throughput int64
	// The options that the values come from.
	kindLabel, sizeOption, iopsOption, throughputOption string
}

// check finds what EBS would refuse. A size of 0 is not known yet.
func (v volume) check(p *problems, root bool) {
	l, ok := volumeLimits()[v.kind]
	if !ok || root && !l.root {
		p.oneOf(v.kindLabel, v.kind, volumeTypes(root))
		return
	}
	if v.size < 0 || v.size > 0 && (v.size < l.minGiB || v.size > l.maxGiB) {
		p.add(v.sizeOption, fmt.Sprintf("must be %d to %d GiB for %s, is %d", l.minGiB, l.maxGiB, v.kind, v.size), "leave it out to take the snapshot's size")
	}
	switch {
	case v.iops == 0 && l.minIOPS > 0 && l.freeIOPS == 0:
		p.add(v.iopsOption, "is missing, and "+v.kind+" needs it", fmt.Sprintf("use %d to %d", l.minIOPS, l.maxIOPS))
	case v.iops == 0:
	case l.maxIOPS == 0:
		p.add(v.iopsOption, fmt.Sprintf("is %d, but %s has none to set", v.iops, v.kind), "leave it out, or use gp3, io1 or io2")
	case v.iops < l.minIOPS || v.iops > l.maxIOPS:
		p.add(v.iopsOption, fmt.Sprintf("must be %d to %d for %s, is %d", l.minIOPS, l.maxIOPS, v.kind, v.iops), "change it")
	case v.size > 0 && v.iops > max(l.freeIOPS, v.size*l.perGiB):
		p.add(v.iopsOption, fmt.Sprintf("can be at most %d for %s of %d GiB, is %d", max(l.freeIOPS, v.size*l.perGiB), v.kind, v.size, v.iops), "lower it or raise the size")
	}
	v.checkThroughput(p, l)
}

func (v volume) checkThroughput(p *problems, l limits) {
	switch most := max(v.iops, l.freeIOPS) / 4; {
	case v.throughput == 0:
	case l.maxThrough == 0:
		p.add(v.throughputOption, fmt.Sprintf("is %d, but %s has none to set", v.throughput, v.kind), "leave it out, or use gp3")
	case v.throughput < l.minThrough || v.throughput > l.maxThrough:
		p.add(v.throughputOption, fmt.Sprintf("must be %d to %d MiB/s, is %d", l.minThrough, l.maxThrough, v.throughput), "change it")
	case v.throughput > most:
		p.add(v.throughputOption, fmt.Sprintf("can be at most %d MiB/s with %d IOPS, is %d", most, max(v.iops, l.freeIOPS), v.throughput), "raise the IOPS")
	}
}

func (c *Config) checkVolumes(p *problems) {
	volume{
		kind: c.VolumeType, size: c.VolumeSize, iops: c.VolumeIOPS, throughput: c.VolumeThroughput, kindLabel: "volume_type",
		sizeOption: "volume_size", iopsOption: "volume_iops", throughputOption: "volume_throughput",
	}.check(p, true)
	*p = append(*p, CheckDevices("ami_block_device_mappings", c.AMIMappings, false)...)
	for i, d := range c.AMIMappings {
		if d.DeviceName == c.RootDeviceName {
			p.add(fmt.Sprintf("ami_block_device_mappings[%d].device_name", i), fmt.Sprintf("%q is the root device", d.DeviceName), "use the volume_… options for it")
		}
	}
}

// CheckDevices sets the defaults of devices and returns what is wrong with
// them. For the devices of an image (rather than of a machine that is to be
// launched) EC2 takes no key.
func CheckDevices(option string, devices []BlockDevice, launch bool) []error {
	var p problems
	seen := map[string]bool{}
	for i := range devices {
		d := &devices[i]
		name := func(field string) string { return fmt.Sprintf("%s[%d].%s", option, i, field) }
		if d.DeviceName == "" {
			p.add(name("device_name"), "is missing", "use a name such as /dev/sdf")
		} else if seen[d.DeviceName] {
			p.add(name("device_name"), fmt.Sprintf("%q is there twice", d.DeviceName), "leave one out")
		}
		seen[d.DeviceName] = true
		if d.NoDevice || d.VirtualName != "" {
			continue
		}
		d.check(&p, name, launch)
	}
	return p
}

func (d *BlockDevice) check(p *problems, name func(string) string, launch bool) {
	if d.VolumeType == "" {
		d.VolumeType = defaultVolumeType
	}
	if d.VolumeSize == 0 && d.SnapshotID == "" {
		p.add(name("volume_size"), "is missing, and there is no snapshot_id", "set one of them")
	}
	if d.SnapshotID != "" && !strings.HasPrefix(d.SnapshotID, "snap-") {
		p.add(name("snapshot_id"), fmt.Sprintf("is %q", d.SnapshotID), "use an id such as snap-0123456789abcdef0")
	}
	if d.KmsKeyID != "" && !launch {
		p.add(name("kms_key_id"), "cannot be set for a device of an image", "use kms_key_id or region_kms_key_ids of the image, which encrypt all its snapshots")
	}
	if d.SnapshotID != "" && d.Encrypted.ToBoolPointer() != nil && !launch {
		p.add(name("encrypted"), "cannot be set together with snapshot_id", "leave it out: the device is as its snapshot is")
	}
	volume{
		kind: d.VolumeType, size: d.VolumeSize, iops: d.IOPS, throughput: d.Throughput, kindLabel: name("volume_type"),
		sizeOption: name("volume_size"), iopsOption: name("iops"), throughputOption: name("throughput"),
	}.check(p, false)
}
