// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"maps"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// copying is what CopyImage and CopySnapshot ask for alike.
type copying struct {
	from        string // region
	encrypted   bool
	refuseClear bool // the request says Encrypted=false
	key         string
	tags        map[string]string
}

func (s *Service) readCopying(r *request) copying {
	c := copying{from: r.str("SourceRegion"), encrypted: r.flag("Encrypted", false), key: r.str("KmsKeyId")}
	c.refuseClear = r.has("Encrypted") && !c.encrypted
	if c.from == "" {
		r.fail(missing("SourceRegion"))
	} else if !slices.Contains(s.Regions, c.from) {
		r.fail(call.Errorf("InvalidRegion", "The source region '%s' is not valid. Specify it by its code, for example us-west-2.", c.from))
	}
	if c.key != "" && !c.encrypted {
		r.fail(keyWithoutEncryption())
	}
	return c
}

// copySnapshot makes the copy of one snapshot, which is complete after the
// settle time. As on AWS, a key that is not there makes it end in an error.
// Without a named key it is the default one of the new region, never the source's.
func (s *Service) copySnapshotTo(to, from *store.Region, src store.Snapshot, c copying, description string) (store.Snapshot, error) {
	if src.State != store.SnapshotCompleted {
		return src, call.Errorf("IncorrectState", "The snapshot '%s' is in the state '%s'; it must be 'completed'.", src.ID, src.State)
	}
	if src.Encrypted && c.refuseClear {
		return src, call.Errorf("InvalidRequest", "Snapshot %s is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.", src.ID)
	}
	now := s.Store.Now().UTC()
	snap := store.Snapshot{
		ID: store.NewID("snap"), VolumeID: store.NoVolume, Description: description, SizeGiB: src.SizeGiB, Tags: c.tags,
		StartTime: now, Sealed: true, CompletedAt: now.Add(s.Settle), DataBytes: src.DataBytes,
	}
	key, encrypted, ok := s.encryption(to, c.encrypted, c.key, store.Snapshot{Encrypted: src.Encrypted})
	snap.Encrypted, snap.KmsKeyID = encrypted, key
	if !ok {
		snap.FailWith = "Given key ID is not accessible"
	}
	return snap, s.Store.CopySnapshot(to, snap, from.Name, src.ID)
}

type copySnapshotReply struct {
	meta
	SnapshotID string       `xml:"snapshotId"`
	Tags       set[tagItem] `xml:"tagSet"`
}

func (s *Service) copySnapshot(r *request) (reply, error) {
	c, id, description := s.readCopying(r), r.str("SourceSnapshotId"), r.str("Description")
	c.tags = r.tagSpecs("snapshot")["snapshot"]
	if id == "" {
		r.fail(missing("SourceSnapshotId"))
	}
	if to := r.or("DestinationRegion", r.Region); to != r.Region {
		r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter DestinationRegion is invalid: send the request to the region that the copy is made in.", to))
	}
	r.ignore("PresignedUrl") // an encrypted source needs it on AWS; the SDKs add it
	r.number("CompletionDurationMinutes", 0, 15, 2880)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var snap store.Snapshot
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		from, err := s.Store.Peer(c.from)
		if err != nil {
			return err
		}
		src, err := s.findSnapshot(from, id)
		if err != nil {
			return err
		}
		snap, err = s.copySnapshotTo(reg, from, src, c, description)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &copySnapshotReply{SnapshotID: snap.ID, Tags: tagSet(snap.Tags)}, nil
}

// copyImage copies an image and its snapshots, from any region to that of the
// call. Permissions, deprecation and protection stay with the source.
func (s *Service) copyImage(r *request) (reply, error) {
	c, id := s.readCopying(r), r.str("SourceImageId")
	img := store.Image{
		ID: store.NewID("ami"), Name: r.str("Name"), Description: r.str("Description"), CreationDate: s.Store.Now().UTC(),
		SourceImageID: id, SourceRegion: c.from, ClientToken: r.str("ClientToken"), RequestHash: requestHash(r),
	}
	specs, copyTags := r.tagSpecs("image", "snapshot"), r.flag("CopyImageTags", false)
	c.tags = specs["snapshot"]
	r.number("SnapshotCopyCompletionDurationMinutes", 0, 15, 2880)
	if id == "" {
		r.fail(missing("SourceImageId"))
	}
	if err := checkName(img.Name, img.Description); err != nil {
		r.fail(err)
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		made, again, err := s.repeatedCopy(reg, img)
		if again || err != nil {
			img = made
			return err
		}
		from, err := s.Store.Peer(c.from)
		if err != nil {
			return err
		}
		src, err := s.usableImage(from, id)
		if err != nil {
			return err
		}
		img.Tags = map[string]string{}
		if copyTags {
			maps.Copy(img.Tags, src.Tags)
		}
		maps.Copy(img.Tags, specs["image"])
		img = likeSource(img, src)
		return s.addCopy(reg, from, img, c)
	})
	if err != nil {
		return nil, err
	}
	return &registerImageReply{ImageID: img.ID}, nil
}

// repeatedCopy finds the image that an earlier call with the same token made.
func (s *Service) repeatedCopy(reg *store.Region, want store.Image) (store.Image, bool, error) {
	if want.ClientToken == "" {
		return want, false, nil
	}
	for _, img := range reg.Images.All() {
		if img.ClientToken != want.ClientToken {
			continue
		}
		if img.RequestHash != want.RequestHash {
			return img, false, call.Errorf("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
		}
		return img, true, nil
	}
	return want, false, nil
}

// likeSource gives a copy what it has in common with its source.
func likeSource(img, src store.Image) store.Image {
	img.Description = orText(img.Description, src.Description)
	img.Architecture, img.VirtualizationType, img.BootMode = src.Architecture, src.VirtualizationType, src.BootMode
	img.ImdsSupport, img.TpmSupport, img.UefiData = src.ImdsSupport, src.TpmSupport, src.UefiData
	img.SriovNetSupport, img.EnaSupport, img.RootDeviceName = src.SriovNetSupport, src.EnaSupport, src.RootDeviceName
	img.BlockDevices = slices.Clone(src.BlockDevices)
	return img
}

// addCopy copies the snapshots of the image, then puts it down.
func (s *Service) addCopy(reg, from *store.Region, img store.Image, c copying) error {
	if err := s.freeName(reg, img.Name); err != nil {
		return err
	}
	var sources []store.Snapshot
	for _, d := range img.BlockDevices {
		if d.SnapshotID == "" {
			continue
		}
		src, err := s.findSnapshot(from, d.SnapshotID)
		if err != nil {
			return err
		}
		sources = append(sources, src)
	}
	img.ReadyAt = s.Store.Now().Add(s.Settle).UTC()
	for _, src := range sources {
		made, err := s.copySnapshotTo(reg, from, src, c, fmt.Sprintf("Copied for DestinationAmi %s from SourceAmi %s for SourceSnapshot %s. Task created on %d.",
			img.ID, img.SourceImageID, src.ID, s.Store.Now().UnixMilli()))
		if err != nil {
			return err
		}
		for i := range img.BlockDevices {
			if d := &img.BlockDevices[i]; d.SnapshotID == src.ID {
				d.SnapshotID, d.Encrypted = made.ID, made.Encrypted
			}
		}
		if made.FailWith != "" {
			img.State, img.StateMessage = store.ImageFailed, "The snapshot "+made.ID+" could not be made: "+made.FailWith
		}
	}
	return reg.Images.Put(img)
}
