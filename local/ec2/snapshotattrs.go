// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// changeSnapshot runs f on the snapshot that the call names, and puts it back.
func (s *Service) changeSnapshot(r *request, f func(*store.Region, *store.Snapshot) error) (reply, error) {
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
		snap, _ := reg.Snapshots.Get(id)
		if err := f(reg, &snap); err != nil {
			return err
		}
		return reg.Snapshots.Put(snap)
	})
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}

// modifySnapshotAttribute changes who may make volumes of a snapshot.
func (s *Service) modifySnapshotAttribute(r *request) (reply, error) {
	r.oneOf("Attribute", "", "createVolumePermission")
	share := r.sharing("CreateVolumePermission")
	if err := share.check("InvalidParameterValue"); err != nil {
		r.fail(err)
	}
	if share.empty() {
		r.fail(call.Errorf("InvalidParameterCombination", "The request must add or remove a permission."))
	}
	return s.changeSnapshot(r, func(reg *store.Region, snap *store.Snapshot) error {
		if err := s.mayShareSnapshot(reg, *snap, share); err != nil {
			return err
		}
		snap.Permissions = share.apply(snap.Permissions)
		return nil
	})
}

// resetSnapshotAttribute makes a snapshot private.
func (s *Service) resetSnapshotAttribute(r *request) (reply, error) {
	if r.oneOf("Attribute", "", "createVolumePermission") == "" {
		r.fail(missing("Attribute"))
	}
	return s.changeSnapshot(r, func(_ *store.Region, snap *store.Snapshot) error {
		snap.Permissions = nil
		return nil
	})
}

type snapshotAttributeReply struct {
	meta
	SnapshotID        string               `xml:"snapshotId"`
	VolumePermissions *set[permissionItem] `xml:"createVolumePermission"`
	ProductCodes      *set[struct{}]       `xml:"productCodes"`
}

func (s *Service) describeSnapshotAttribute(r *request) (reply, error) {
	id := r.str("SnapshotId")
	attribute := r.oneOf("Attribute", "", "createVolumePermission", "productCodes")
	for name, v := range map[string]string{"SnapshotId": id, "Attribute": attribute} {
		if v == "" {
			r.fail(missing(name))
		}
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &snapshotAttributeReply{SnapshotID: id}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		snap, err := s.findSnapshot(reg, id)
		if attribute == "productCodes" {
			out.ProductCodes = &set[struct{}]{}
		} else {
			out.VolumePermissions = permissionSet(snap.Permissions)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
