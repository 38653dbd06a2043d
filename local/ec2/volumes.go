// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) volumeActions() map[string]handler {
	return map[string]handler{
		"CreateVolume":                 s.createVolume,
		"DescribeVolumes":              s.describeVolumes,
		"DescribeVolumeStatus":         s.describeVolumeStatus,
		"ModifyVolume":                 s.modifyVolume,
		"DescribeVolumesModifications": s.describeModifications,
		"DeleteVolume":                 s.deleteVolume,
		"AttachVolume":                 s.attachVolume,
		"DetachVolume":                 s.detachVolume,
		"CreateSnapshot":               s.createSnapshot,
		"CreateSnapshots":              s.createSnapshots,
		"CreateImage":                  s.createImage,
	}
}

type volumeReply struct {
	meta
	diskItem
}

type describeVolumesReply struct {
	meta
	Volumes   set[diskItem] `xml:"volumeSet"`
	NextToken string        `xml:"nextToken,omitempty"`
}

// diskItem is a volume as EC2 shows it.
type diskItem struct {
	ID          string              `xml:"volumeId"`
	SizeGiB     int64               `xml:"size"`
	SnapshotID  string              `xml:"snapshotId"`
	Zone        string              `xml:"availabilityZone"`
	Status      string              `xml:"status"`
	Created     string              `xml:"createTime"`
	Type        string              `xml:"volumeType"`
	IOPS        int64               `xml:"iops,omitempty"`
	Throughput  int64               `xml:"throughput,omitempty"`
	Encrypted   bool                `xml:"encrypted"`
	KmsKeyID    string              `xml:"kmsKeyId,omitempty"`
	MultiAttach bool                `xml:"multiAttachEnabled"`
	Attachments set[attachmentItem] `xml:"attachmentSet"`
	Tags        set[tagItem]        `xml:"tagSet"`
}

type attachmentItem struct {
	VolumeID            string `xml:"volumeId"`
	InstanceID          string `xml:"instanceId"`
	Device              string `xml:"device"`
	Status              string `xml:"status"`
	Time                string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

func attachment(v store.Volume) attachmentItem {
	a := v.Attachment
	status := "attached"
	if a.Leaving {
		status = "detaching"
	}
	return attachmentItem{v.ID, a.InstanceID, a.Device, status, stamp(a.Time), a.DeleteOnTermination}
}

func volumeRow(v store.Volume) diskItem {
	item := diskItem{
		ID: v.ID, SizeGiB: v.SizeGiB, SnapshotID: v.SnapshotID, Zone: v.Zone, Status: v.State(), Created: stamp(v.Created), Type: v.Type,
		IOPS: v.IOPS, Throughput: v.Throughput, Encrypted: v.Encrypted, KmsKeyID: v.KmsKeyID, Tags: tagSet(v.Tags),
	}
	if v.Attachment.InstanceID != "" {
		item.Attachments.Items = []attachmentItem{attachment(v)}
	}
	return item
}

func findVolume(reg *store.Region, id string) (store.Volume, error) {
	return finding(reg.Volumes, "vol", "InvalidVolume", "InvalidVolumeID", "The volume '%s' does not exist.", id)
}

// createVolume makes a volume, blank or of a snapshot.
func (s *Service) createVolume(r *request) (reply, error) {
	d := store.BlockDevice{
		DeviceName: "volume", SnapshotID: r.str("SnapshotId"), SizeGiB: r.number("Size", 0, 1, 64<<10),
		VolumeType: r.oneOf("VolumeType", "gp2", volumeTypes()...), IOPS: r.number("Iops", 0, 100, 256000),
		Throughput: r.number("Throughput", 0, 125, 2000), Encrypted: r.flag("Encrypted", false), KmsKeyID: r.str("KmsKeyId"),
	}
	_ = r.oneOf("MultiAttachEnabled", "false", "false")
	vol := store.Volume{
		ID: store.NewID("vol"), Zone: r.need("AvailabilityZone"), Created: s.Store.Now().UTC(), Tags: r.tagSpecs("volume")["volume"],
		ClientToken: r.str("ClientToken"), RequestHash: requestHash(r),
	}
	if vol.Zone != "" && !slices.Contains(store.Zones(r.Region), vol.Zone) {
		r.fail(call.Errorf("InvalidZone.NotFound", "The zone '%s' does not exist.", vol.Zone))
	}
	if d.KmsKeyID != "" && !d.Encrypted {
		r.fail(keyWithoutEncryption())
	}
	if d.SnapshotID == "" && d.SizeGiB == 0 {
		r.fail(call.Errorf("MissingParameter", "The request must contain the parameter size/snapshot"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, other := range reg.Volumes.All() {
			if vol.ClientToken != "" && other.ClientToken == vol.ClientToken {
				if other.RequestHash != vol.RequestHash {
					return mismatch()
				}
				vol = other
				return nil
			}
		}
		devices := []store.BlockDevice{d}
		if err := s.fillDevices(reg, devices); err != nil {
			return err
		}
		d = devices[0]
		vol.SnapshotID, vol.SizeGiB, vol.Type, vol.IOPS, vol.Throughput = d.SnapshotID, d.SizeGiB, d.VolumeType, d.IOPS, d.Throughput
		vol.Encrypted, vol.KmsKeyID = d.Encrypted, d.KmsKeyID
		return s.Store.CreateVolume(reg, vol)
	})
	if err != nil {
		return nil, err
	}
	return &volumeReply{diskItem: volumeRow(vol)}, nil
}

func volumeTypes() []string {
	return []string{"standard", "gp2", "gp3", "io1", "io2", "sc1", "st1"}
}

func mismatch() *call.Error {
	return call.Errorf("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
}

// volumeKind is what DescribeVolumes and its like know of volumes.
func volumeKind() kind[store.Volume] {
	type vol = store.Volume
	attached := func(f func(store.Attachment) string) func(vol) []string {
		return func(v vol) []string {
			if v.Attachment.InstanceID == "" {
				return nil
			}
			return []string{f(v.Attachment)}
		}
	}
	return kind[vol]{
		ids: "VolumeId", prefix: "vol", code: "InvalidVolume", malformed: "InvalidVolumeID", absent: "The volume '%s' does not exist.", least: 5,
		all: func(reg *store.Region) []vol { return reg.Volumes.All() },
		id:  func(v vol) string { return v.ID },
		key: func(v vol) string { return rowKey(v.Created, v.ID) },
		attrs: attributes[vol]{
			tags: func(v vol) map[string]string { return v.Tags },
			fields: map[string]func(vol) []string{
				"volume-id":              only(func(v vol) string { return v.ID }),
				"status":                 only(vol.State),
				"size":                   only(func(v vol) string { return itoa(v.SizeGiB) }),
				"snapshot-id":            only(func(v vol) string { return v.SnapshotID }),
				"availability-zone":      only(func(v vol) string { return v.Zone }),
				"volume-type":            only(func(v vol) string { return v.Type }),
				"create-time":            only(func(v vol) string { return stamp(v.Created) }),
				"encrypted":              boolText(func(v vol) bool { return v.Encrypted }),
				"multi-attach-enabled":   only(func(vol) string { return "false" }),
				"attachment.instance-id": attached(func(a store.Attachment) string { return a.InstanceID }),
				"attachment.device":      attached(func(a store.Attachment) string { return a.Device }),
				"attachment.attach-time": attached(func(a store.Attachment) string { return stamp(a.Time) }),
				"attachment.status": func(v vol) []string {
					if v.Attachment.InstanceID == "" {
						return nil
					}
					return []string{attachment(v).Status}
				},
				"attachment.delete-on-termination": func(v vol) []string {
					if v.Attachment.InstanceID == "" {
						return nil
					}
					return boolText(func(v vol) bool { return v.Attachment.DeleteOnTermination })(v)
				},
			},
		},
	}
}

func (s *Service) describeVolumes(r *request) (reply, error) {
	rows, next, err := describe(s, r, volumeKind())
	if err != nil {
		return nil, err
	}
	out := &describeVolumesReply{NextToken: next}
	for _, v := range rows {
		out.Volumes.Items = append(out.Volumes.Items, volumeRow(v))
	}
	return out, nil
}

type volumeStatusReply struct {
	meta
	Statuses  set[volumeStatusItem] `xml:"volumeStatusSet"`
	NextToken string                `xml:"nextToken,omitempty"`
}

type volumeStatusItem struct {
	ID     string `xml:"volumeId"`
	Zone   string `xml:"availabilityZone"`
	Status string `xml:"volumeStatus>status"`
}

// describeVolumeStatus says "ok" for every volume: nothing is checked.
func (s *Service) describeVolumeStatus(r *request) (reply, error) {
	k := volumeKind()
	k.attrs = attributes[store.Volume]{fields: map[string]func(store.Volume) []string{
		"availability-zone":    k.attrs.fields["availability-zone"],
		"volume-status.status": only(func(store.Volume) string { return "ok" }),
	}}
	rows, next, err := describe(s, r, k)
	if err != nil {
		return nil, err
	}
	out := &volumeStatusReply{NextToken: next}
	for _, v := range rows {
		out.Statuses.Items = append(out.Statuses.Items, volumeStatusItem{v.ID, v.Zone, "ok"})
	}
	return out, nil
}

func (s *Service) deleteVolume(r *request) (reply, error) {
	id := r.need("VolumeId")
	return s.do1(r, func(reg *store.Region) error {
		v, err := findVolume(reg, id)
		if err != nil {
			return err
		}
		if user := v.Attachment.InstanceID; user != "" {
			return call.Errorf("VolumeInUse", "Volume %s is currently attached to %s", id, user)
		}
		return s.Store.DeleteVolume(reg, id)
	})
}
