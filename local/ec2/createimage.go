// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// forever keeps a snapshot that is made here from being cancelled as an upload
// that stands still is.
const forever = 10 * 365 * 24 * time.Hour

// createImage makes an image of an instance's volumes. A running guest shuts
// down for it and boots again, unless NoReboot says to take the disks as they
// are. The image is pending until its snapshots are complete.
func (s *Service) createImage(r *request) (reply, error) {
	id, noReboot, over := r.need("InstanceId"), r.flag("NoReboot", false), r.blockDevices()
	specs := r.tagSpecs("image", "snapshot")
	img := store.Image{
		ID: store.NewID("ami"), Name: r.str("Name"), Description: r.str("Description"), Tags: specs["image"],
		CreationDate: s.Store.Now().UTC(), ReadyAt: store.Unknown(), SourceInstanceID: id,
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	job := SnapshotJob{InstanceID: id, Reboot: !noReboot, ImageID: img.ID}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		rows, err := findInstances(reg, []string{id})
		if err != nil {
			return err
		}
		inst := rows[0]
		if inst.State != store.InstanceRunning && inst.State != store.InstanceStopped {
			return call.Errorf("InvalidParameterValue", "Instance is not in state 'running' or 'stopped'")
		}
		img = imageOf(img, inst.Image)
		snapshots, devices, err := s.imageDevices(reg, inst, img, over)
		if err != nil {
			return err
		}
		img.BlockDevices = devices
		if err := checkImage(img); err != nil {
			return err
		}
		if err := s.freeName(reg, img.Name); err != nil {
			return err
		}
		job.Volumes = map[string]string{}
		for i := range snapshots {
			snap := &snapshots[i]
			snap.Description, snap.Tags = fmt.Sprintf("Created by CreateImage(%s) for %s", id, img.ID), specs["snapshot"]
			if err := s.Store.CreateSnapshot(reg, *snap); err != nil {
				return err
			}
			job.Volumes[snap.ID] = snap.VolumeID
		}
		return reg.Images.Put(img)
	})
	if err != nil {
		return nil, err
	}
	s.Fleet.Snapshot(r.Region, job)
	return &registerImageReply{ImageID: img.ID}, nil
}

// imageOf gives a new image what it has in common with the instance's own.
func imageOf(img, of store.Image) store.Image {
	img.Architecture, img.VirtualizationType, img.BootMode = of.Architecture, of.VirtualizationType, of.BootMode
	img.ImdsSupport, img.TpmSupport, img.UefiData = of.ImdsSupport, of.TpmSupport, of.UefiData
	img.SriovNetSupport, img.EnaSupport, img.RootDeviceName = of.SriovNetSupport, of.EnaSupport, of.RootDeviceName
	return img
}

// imageDevices is the mapping of an image of an instance: a new snapshot for
// each volume, with what the request says laid over.
func (s *Service) imageDevices(reg *store.Region, inst store.Instance, img store.Image, over []store.BlockDevice) ([]store.Snapshot, []store.BlockDevice, error) {
	var snapshots []store.Snapshot
	var devices []store.BlockDevice
	for _, v := range reg.Attached(inst) {
		at := slices.IndexFunc(over, func(d store.BlockDevice) bool { return d.DeviceName == v.Attachment.Device })
		root := v.Attachment.Device == img.RootDeviceName
		d := store.BlockDevice{
			DeviceName: v.Attachment.Device, SizeGiB: v.SizeGiB, VolumeType: v.Type, IOPS: v.IOPS, Throughput: v.Throughput,
			Encrypted: v.Encrypted, DeleteOnTermination: v.Attachment.DeleteOnTermination,
		}
		if at >= 0 {
			o := over[at]
			over = slices.Delete(slices.Clone(over), at, at+1)
			switch {
			case root && (o.NoDevice || o.VirtualName != ""):
				return nil, nil, call.Errorf("InvalidBlockDeviceMapping", "The root device %s cannot be left out.", d.DeviceName)
			case o.NoDevice || o.VirtualName != "":
				devices = append(devices, o)
				continue
			case o.SnapshotID != "":
				return nil, nil, call.Errorf("InvalidBlockDeviceMapping", "The device %s is a volume of the instance; it cannot get another snapshot.", d.DeviceName)
			case o.SizeGiB != 0 && o.SizeGiB < v.SizeGiB:
				return nil, nil, call.Errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than the volume %s of %dGB", o.SizeGiB, v.ID, v.SizeGiB)
			case o.Encrypted && !v.Encrypted:
				return nil, nil, call.Errorf("InvalidBlockDeviceMapping", "The encrypted flag cannot be changed for %s: its volume %s is not encrypted.", d.DeviceName, v.ID)
			}
			d.DeleteOnTermination, d.SizeGiB, d.VolumeType = o.DeleteOnTermination, max(d.SizeGiB, o.SizeGiB), orText(o.VolumeType, d.VolumeType)
			d.IOPS, d.Throughput = orNumber(o.IOPS, d.IOPS), orNumber(o.Throughput, d.Throughput)
		}
		snap := s.snapshotOf(v)
		d.SnapshotID = snap.ID
		snapshots, devices = append(snapshots, snap), append(devices, d)
	}
	more := slices.DeleteFunc(over, func(d store.BlockDevice) bool { return d.NoDevice }) // there is nothing to leave out
	if err := s.fillDevices(reg, more); err != nil {
		return nil, nil, err
	}
	return snapshots, append(devices, more...), nil
}

func orNumber(n, absent int64) int64 {
	if n == 0 {
		return absent
	}
	return n
}

// snapshotOf is a new snapshot of a volume, which is yet to be filled.
func (s *Service) snapshotOf(v store.Volume) store.Snapshot {
	return store.Snapshot{
		ID: store.NewID("snap"), VolumeID: v.ID, SizeGiB: v.SizeGiB, StartTime: s.Store.Now().UTC(), Timeout: forever,
		Encrypted: v.Encrypted, KmsKeyID: v.KmsKeyID,
	}
}

type createSnapshotReply struct {
	meta
	snapshotItem
}

// createSnapshot makes a snapshot of one volume.
func (s *Service) createSnapshot(r *request) (reply, error) {
	id, description := r.need("VolumeId"), r.str("Description")
	tags := r.tagSpecs("snapshot")["snapshot"]
	if err := r.checked(); err != nil {
		return nil, err
	}
	var snap store.Snapshot
	var job SnapshotJob
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		v, err := findVolume(reg, id)
		if err != nil {
			return err
		}
		snap = s.snapshotOf(v)
		snap.Description, snap.Tags = description, tags
		job = SnapshotJob{InstanceID: v.Attachment.InstanceID, Volumes: map[string]string{snap.ID: id}}
		return s.Store.CreateSnapshot(reg, snap)
	})
	if err != nil {
		return nil, err
	}
	s.Fleet.Snapshot(r.Region, job)
	snap.State = store.SnapshotPending
	return &createSnapshotReply{snapshotItem: s.snapshotItem(snap)}, nil
}

type createSnapshotsReply struct {
	meta
	Snapshots set[snapshotInfo] `xml:"snapshotSet"`
}

// snapshotInfo is a snapshot in the answer of CreateSnapshots.
type snapshotInfo struct {
	ID          string       `xml:"snapshotId"`
	VolumeID    string       `xml:"volumeId"`
	State       string       `xml:"state"`
	SizeGiB     int64        `xml:"volumeSize"`
	StartTime   string       `xml:"startTime"`
	Progress    string       `xml:"progress"`
	OwnerID     string       `xml:"ownerId"`
	Description string       `xml:"description"`
	Encrypted   bool         `xml:"encrypted"`
	Tags        set[tagItem] `xml:"tagSet"`
}

// createSnapshots makes snapshots of all volumes of an instance, at one moment.
func (s *Service) createSnapshots(r *request) (reply, error) {
	id, description := r.need("InstanceSpecification.InstanceId"), r.str("Description")
	noRoot, leaveOut := r.flag("InstanceSpecification.ExcludeBootVolume", false), r.list("InstanceSpecification.ExcludeDataVolumeId")
	tags := r.tagSpecs("snapshot")["snapshot"]
	fromVolume := r.oneOf("CopyTagsFromSource", "", "volume") == "volume"
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &createSnapshotsReply{}
	job := SnapshotJob{InstanceID: id, Volumes: map[string]string{}}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		rows, err := findInstances(reg, []string{id})
		if err != nil {
			return err
		}
		inst := rows[0]
		for _, v := range reg.Attached(inst) {
			if noRoot && v.Attachment.Device == inst.Image.RootDeviceName || slices.Contains(leaveOut, v.ID) {
				continue
			}
			snap := s.snapshotOf(v)
			snap.Description, snap.Tags = description, tags
			if fromVolume {
				snap.Tags = merged(v.Tags, tags)
			}
			if err := s.Store.CreateSnapshot(reg, snap); err != nil {
				return err
			}
			job.Volumes[snap.ID] = v.ID
			out.Snapshots.Items = append(out.Snapshots.Items, snapshotInfo{
				snap.ID, v.ID, store.SnapshotPending, snap.SizeGiB, stamp(snap.StartTime), "", s.Account, description, snap.Encrypted, tagSet(snap.Tags),
			})
		}
		if len(job.Volumes) == 0 {
			return call.Errorf("InvalidParameterValue", "There is no volume of instance %s to make a snapshot of.", id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Fleet.Snapshot(r.Region, job)
	return out, nil
}
