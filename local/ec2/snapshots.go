// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) snapshotActions() map[string]handler {
	return map[string]handler{
		"DescribeSnapshots":         s.describeSnapshots,
		"DeleteSnapshot":            s.deleteSnapshot,
		"CopySnapshot":              s.copySnapshot,
		"ModifySnapshotAttribute":   s.modifySnapshotAttribute,
		"DescribeSnapshotAttribute": s.describeSnapshotAttribute,
		"ResetSnapshotAttribute":    s.resetSnapshotAttribute,
	}
}

type describeSnapshotsReply struct {
	meta
	Snapshots set[snapshotItem] `xml:"snapshotSet"`
	NextToken string            `xml:"nextToken,omitempty"`
}

type snapshotItem struct {
	SnapshotID     string       `xml:"snapshotId"`
	VolumeID       string       `xml:"volumeId"`
	Status         string       `xml:"status"`
	StatusMessage  string       `xml:"statusMessage,omitempty"`
	StartTime      string       `xml:"startTime"`
	CompletionTime string       `xml:"completionTime,omitempty"`
	Progress       string       `xml:"progress"`
	OwnerID        string       `xml:"ownerId"`
	VolumeSize     int64        `xml:"volumeSize"`
	FullSize       int64        `xml:"fullSnapshotSizeInBytes,omitempty"`
	Description    string       `xml:"description"`
	Encrypted      bool         `xml:"encrypted"`
	KmsKeyID       string       `xml:"kmsKeyId,omitempty"`
	SseType        string       `xml:"sseType,omitempty"`
	StorageTier    string       `xml:"storageTier"`
	Tags           set[tagItem] `xml:"tagSet"`
}

func progress(snap store.Snapshot) string {
	if snap.State == store.SnapshotCompleted {
		return "100%"
	}
	return "0%"
}

func (s *Service) snapshotItem(snap store.Snapshot) snapshotItem {
	item := snapshotItem{
		SnapshotID: snap.ID, VolumeID: snap.VolumeID, Status: snap.State, StatusMessage: snap.StateMessage,
		StartTime: stamp(snap.StartTime), Progress: progress(snap), OwnerID: s.Account, VolumeSize: snap.SizeGiB,
		Description: snap.Description, StorageTier: "standard", Tags: tagSet(snap.Tags),
		Encrypted: snap.Encrypted, KmsKeyID: snap.KmsKeyID,
	}
	if snap.Encrypted {
		item.SseType = "sse-kms"
	}
	if snap.State == store.SnapshotCompleted {
		item.CompletionTime = stamp(snap.CompletedAt)
		item.FullSize = snap.DataBytes
	}
	return item
}

func (s *Service) describeSnapshots(r *request) (reply, error) {
	ids, owners, users := r.list("SnapshotId"), r.list("Owner"), r.list("RestorableBy")
	filters, pg := r.filters(), r.paging(5)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var rows []store.Snapshot
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = s.Store.Snapshots(reg)
		return found("snap", "InvalidSnapshot", ids, reg.Snapshots, func(id string) string { return "The snapshot '" + id + "' does not exist." })
	})
	if err != nil {
		return nil, snapshotIDError(err)
	}
	rows = slices.DeleteFunc(rows, func(snap store.Snapshot) bool {
		return len(ids) > 0 && !slices.Contains(ids, snap.ID) || !s.mine(owners) || !s.shared(snap.Permissions, users)
	})
	if rows, err = s.snapshotFilters().keep(rows, filters); err != nil {
		return nil, err
	}
	rows, next, err := page(s, r, pg, rows, func(snap store.Snapshot) string { return rowKey(snap.StartTime, snap.ID) })
	if err != nil {
		return nil, err
	}
	out := &describeSnapshotsReply{NextToken: next}
	for _, snap := range rows {
		out.Snapshots.Items = append(out.Snapshots.Items, s.snapshotItem(snap))
	}
	return out, nil
}

// snapshotIDError mends the one irregular code: InvalidSnapshot.NotFound, but
// InvalidSnapshotID.Malformed.
func snapshotIDError(err error) error {
	if e, ok := err.(*call.Error); ok && e.Code == "InvalidSnapshot.Malformed" { //nolint:errorlint // our own, never wrapped
		e.Code = "InvalidSnapshotID.Malformed"
	}
	return err
}

func (s *Service) snapshotFilters() attributes[store.Snapshot] {
	type snap = store.Snapshot
	return attributes[snap]{
		tags: func(v snap) map[string]string { return v.Tags },
		fields: map[string]func(snap) []string{
			"snapshot-id":  only(func(v snap) string { return v.ID }),
			"description":  only(func(v snap) string { return v.Description }),
			"status":       only(func(v snap) string { return v.State }),
			"owner-id":     only(func(snap) string { return s.Account }),
			"owner-alias":  func(snap) []string { return nil },
			"progress":     only(progress),
			"start-time":   only(func(v snap) string { return stamp(v.StartTime) }),
			"volume-id":    only(func(v snap) string { return v.VolumeID }),
			"volume-size":  only(func(v snap) string { return strconv.FormatInt(v.SizeGiB, 10) }),
			"encrypted":    boolText(func(v snap) bool { return v.Encrypted }),
			"storage-tier": only(func(snap) string { return "standard" }),
		},
	}
}

func (s *Service) findSnapshot(reg *store.Region, id string) (store.Snapshot, error) {
	if err := wellFormed("snap", "InvalidSnapshotID", id); err != nil {
		return store.Snapshot{}, err
	}
	snap, ok := s.Store.Snapshot(reg, id)
	if !ok {
		return snap, call.Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	return snap, nil
}

// imageUsing names an image that needs the snapshot, "" when there is none.
func imageUsing(reg *store.Region, snapshotID string) string {
	for _, img := range reg.Images.All() {
		for _, d := range img.BlockDevices {
			if d.SnapshotID == snapshotID {
				return img.ID
			}
		}
	}
	return ""
}

func (s *Service) deleteSnapshot(r *request) (reply, error) {
	id := r.str("SnapshotId")
	if id == "" {
		r.fail(missing("SnapshotId"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		if _, err := s.findSnapshot(reg, id); err != nil {
			return err
		}
		if user := imageUsing(reg, id); user != "" {
			return call.Errorf("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, user)
		}
		return s.Store.DeleteSnapshot(reg, id)
	})
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}
