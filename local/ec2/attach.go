// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"regexp"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type attachReply struct {
	meta
	attachmentItem
}

// attachVolume gives an instance a volume. A running machine gets it at once, as
// another virtio disk, whatever the device name says.
func (s *Service) attachVolume(r *request) (reply, error) {
	id, instance, device := r.need("VolumeId"), r.need("InstanceId"), r.need("Device")
	if device != "" && !regexp.MustCompile(`\A(/dev/)?(sd[a-z]\d*|xvd[a-z]{1,2}\d*|hd[a-z])\z`).MatchString(device) {
		r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	var vol store.Volume
	running := false
	err := s.Store.Update(r.Region, func(reg *store.Region) (err error) {
		if vol, err = findVolume(reg, id); err != nil {
			return err
		}
		inst, err := attachable(reg, vol, instance, device)
		if err != nil {
			return err
		}
		running = inst.State == store.InstanceRunning
		vol.Attachment = store.Attachment{InstanceID: instance, Device: device, Time: s.Store.Now().UTC()}
		inst.BlockDevices = append(slices.Clone(inst.BlockDevices), store.BlockDevice{
			DeviceName: device, VolumeID: id, SnapshotID: vol.SnapshotID, SizeGiB: vol.SizeGiB, VolumeType: vol.Type,
			IOPS: vol.IOPS, Throughput: vol.Throughput, Encrypted: vol.Encrypted, KmsKeyID: vol.KmsKeyID,
		})
		if err := reg.Volumes.Put(vol); err != nil {
			return err
		}
		return reg.Instances.Put(inst)
	})
	if err != nil {
		return nil, err
	}
	if running {
		if err := s.Fleet.Plug(r.Region, instance, id); err != nil {
			_ = s.Store.Update(r.Region, func(reg *store.Region) error { return reg.Detach(vol) })
			return nil, err
		}
	}
	item := attachment(vol)
	item.Status = "attaching"
	return &attachReply{attachmentItem: item}, nil
}

// attachable checks what speaks against attaching a volume.
func attachable(reg *store.Region, vol store.Volume, instance, device string) (store.Instance, error) {
	rows, err := findInstances(reg, []string{instance})
	if err != nil {
		return store.Instance{}, err
	}
	inst := rows[0]
	switch {
	case vol.Attachment.InstanceID != "":
		return inst, call.Errorf("VolumeInUse", "%s is already attached to an instance", vol.ID)
	case inst.State != store.InstanceRunning && inst.State != store.InstanceStopped:
		return inst, call.Errorf("IncorrectState", "Instance '%s' is not 'running' or 'stopped'.", instance)
	case vol.Zone != inst.Zone:
		return inst, call.Errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", vol.ID, instance)
	case slices.ContainsFunc(inst.BlockDevices, func(d store.BlockDevice) bool { return d.DeviceName == device }):
		return inst, call.Errorf("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	case len(inst.BlockDevices) >= maxVolumes:
		return inst, call.Errorf("AttachmentLimitExceeded", "The local cloud gives an instance at most %d volumes.", maxVolumes)
	}
	return inst, nil
}

// detachVolume takes a volume from its instance. A running guest has to let go
// of it first, which the volume's record shows.
func (s *Service) detachVolume(r *request) (reply, error) {
	id, instance, device, force := r.need("VolumeId"), r.str("InstanceId"), r.str("Device"), r.flag("Force", false)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var vol store.Volume
	running := false
	err := s.Store.Update(r.Region, func(reg *store.Region) (err error) {
		if vol, err = findVolume(reg, id); err != nil {
			return err
		}
		a := vol.Attachment
		if a.InstanceID == "" {
			return call.Errorf("IncorrectState", "Volume '%s' is in the 'available' state.", id)
		}
		if instance != "" && instance != a.InstanceID || device != "" && device != a.Device {
			return call.Errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'", id, instance, device)
		}
		inst, ok := reg.Instances.Get(a.InstanceID)
		running = ok && inst.State != store.InstanceStopped
		if running && a.Device == inst.Image.RootDeviceName {
			return call.Errorf("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", id, a.InstanceID)
		}
		if !running {
			return reg.Detach(vol)
		}
		vol.Attachment.Leaving = true
		return reg.Volumes.Put(vol)
	})
	if err != nil {
		return nil, err
	}
	if running {
		s.Fleet.Unplug(r.Region, vol.Attachment.InstanceID, id, force)
	}
	item := attachment(vol)
	item.Status = "detaching"
	return &attachReply{attachmentItem: item}, nil
}

type modificationReply struct {
	meta
	Modification modificationItem `xml:"volumeModification"`
}

type describeModificationsReply struct {
	meta
	Modifications set[modificationItem] `xml:"volumeModificationSet"`
	NextToken     string                `xml:"nextToken,omitempty"`
}

type modificationItem struct {
	ID                 string `xml:"volumeId"`
	State              string `xml:"modificationState"`
	Progress           int    `xml:"progress"`
	Start              string `xml:"startTime"`
	End                string `xml:"endTime"`
	TargetSize         int64  `xml:"targetSize"`
	TargetType         string `xml:"targetVolumeType"`
	TargetIOPS         int64  `xml:"targetIops,omitempty"`
	TargetThroughput   int64  `xml:"targetThroughput,omitempty"`
	OriginalSize       int64  `xml:"originalSize"`
	OriginalType       string `xml:"originalVolumeType"`
	OriginalIOPS       int64  `xml:"originalIops,omitempty"`
	OriginalThroughput int64  `xml:"originalThroughput,omitempty"`
}

func modification(v store.Volume) modificationItem {
	return modificationItem{
		ID: v.ID, State: "completed", Progress: 100, Start: stamp(v.Modified), End: stamp(v.Modified),
		TargetSize: v.SizeGiB, TargetType: v.Type, TargetIOPS: v.IOPS, TargetThroughput: v.Throughput,
		OriginalSize: v.Before.SizeGiB, OriginalType: v.Before.Type, OriginalIOPS: v.Before.IOPS, OriginalThroughput: v.Before.Throughput,
	}
}

// modifyVolume changes the numbers of a volume. A larger size is real, and a
// running guest sees it at once.
func (s *Service) modifyVolume(r *request) (reply, error) {
	id := r.need("VolumeId")
	size, kind := r.number("Size", 0, 1, 64<<10), r.oneOf("VolumeType", "", volumeTypes()...)
	iops, throughput := r.number("Iops", 0, 100, 256000), r.number("Throughput", 0, 125, 2000)
	var vol store.Volume
	grown := false
	_, err := s.do1(r, func(reg *store.Region) (err error) {
		if vol, err = findVolume(reg, id); err != nil {
			return err
		}
		if size != 0 && size < vol.SizeGiB {
			return call.Errorf("InvalidParameterValue", "New size cannot be smaller than existing size")
		}
		vol.Before = store.VolumeShape{SizeGiB: vol.SizeGiB, Type: vol.Type, IOPS: vol.IOPS, Throughput: vol.Throughput}
		vol.Modified = s.Store.Now().UTC()
		grown = size > vol.SizeGiB
		vol.SizeGiB = max(vol.SizeGiB, size)
		vol.Type = orText(kind, vol.Type)
		if iops != 0 {
			vol.IOPS = iops
		}
		if throughput != 0 {
			vol.Throughput = throughput
		}
		return reg.Volumes.Put(vol)
	})
	if err != nil {
		return nil, err
	}
	if instance := vol.Attachment.InstanceID; grown && instance != "" {
		if err := s.Fleet.Resize(r.Region, instance, id); err != nil {
			return nil, err
		}
	}
	return &modificationReply{Modification: modification(vol)}, nil
}

func (s *Service) describeModifications(r *request) (reply, error) {
	k := volumeKind()
	k.all = func(reg *store.Region) []store.Volume {
		return slices.DeleteFunc(reg.Volumes.All(), func(v store.Volume) bool { return v.Modified.IsZero() })
	}
	k.code, k.absent = "InvalidVolumeModification", "There is no modification of volume '%s'."
	k.attrs = attributes[store.Volume]{fields: map[string]func(store.Volume) []string{
		"volume-id":          k.attrs.fields["volume-id"],
		"modification-state": only(func(store.Volume) string { return "completed" }),
	}}
	rows, next, err := describe(s, r, k)
	if err != nil {
		return nil, err
	}
	out := &describeModificationsReply{NextToken: next}
	for _, v := range rows {
		out.Modifications.Items = append(out.Modifications.Items, modification(v))
	}
	return out, nil
}
