// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// uploadAll makes the image of a disk: in the first region, or with
// region_strategy "upload" in all of them, side by side.
func (p *Publisher) uploadAll(ctx context.Context, b *build, disk *sparse.Disk) error {
	targets := p.regions[:len(p.uploadTargets())]
	p.loadManifest(ctx)
	for _, r := range targets {
		b.images[r] = &image{}
	}
	return each(ctx, targets, regionsAtOnce, func(ctx context.Context, r *region) error {
		p.say("%s: uploading a disk of %s as a snapshot", r.name, size(disk.Size()))
		i := b.images[r]
		snap, err := p.upload(ctx, b, r, disk)
		i.upload = snap
		if err != nil {
			return err
		}
		i.checksum = snap.Checksum
		if err := p.retag(ctx, r, snap); err != nil {
			return err
		}
		if err := r.waitSnapshot(ctx, p.waiter(), snap.ID); err != nil {
			return err
		}
		name, tags := p.firstName(r), p.imageTags()
		if name != p.AMIName {
			i.staged, tags = name, p.temporaryTags()
		}
		p.say("%s: registering image %q of %s", r.name, name, snap.ID)
		if i.id, err = p.register(ctx, r, p.registration(name, snap.ID, tags), &b.owed); err != nil {
			return err
		}
		return p.waitFor(ctx, r, i)
	})
}

// firstName is the name that an image in the region is born with.
func (p *Publisher) firstName(r *region) string {
	if r.old != nil {
		return p.stagingName()
	}
	return p.AMIName
}

// createFirst lets the caller make the image in the first region. When it has
// to be encrypted, what the caller makes is only there to be copied.
func (p *Publisher) createFirst(ctx context.Context, b *build, create Create) error {
	r, i := p.regions[0], &image{}
	in := NewImage{
		Region: r.name, Name: p.firstName(r), Description: p.AMIDescription, PublishID: p.publishID,
		ImageTags: ec2Tags(p.imageTags()), SnapshotTags: ec2Tags(p.snapshotTags(p.publishID)),
	}
	through := p.encryption() == encrypted
	if through {
		in.Name, in.SnapshotTags = p.passingName(), ec2Tags(p.temporaryTags())
	}
	if in.Name != p.AMIName {
		i.staged, in.ImageTags = in.Name, ec2Tags(p.temporaryTags())
	}
	unknown := r.oweTagged(&b.owed, p.publishID)
	id, err := create(ctx, &b.owed, in)
	if err != nil {
		if awsx.MadeNothing(ctx, err) {
			b.owed.Forgive(unknown)
		}
		return err
	}
	known := r.oweWhole(&b.owed, id, p.publishID)
	b.owed.Forgive(unknown)
	i.id = id
	if err := p.waitFor(ctx, r, i); err != nil {
		return err
	}
	r.oweParts(&b.owed, i, known)
	if through {
		r.oweParts(&b.trash, i)
		b.first = i
		return nil
	}
	b.images[r] = i
	return p.checkFirst(r, i)
}

// checkFirst finds what a template forbids before the image is copied.
func (p *Publisher) checkFirst(r *region, i *image) error {
	if !i.anyEncrypted() {
		return nil
	}
	switch {
	case p.encryption() == unencrypted:
		return fmt.Errorf("encrypt_boot: is false, but image %s in %s is encrypted, as its source was: use a source that is not, or leave the option out", i.id, r.name)
	case p.public() || p.publicSnapshots():
		return fmt.Errorf("ami_groups, snapshot_groups: image %s in %s is encrypted, as its source was, and cannot be public: use a source that is not", i.id, r.name)
	}
	return nil
}

// waitFor waits until an image can be launched, and reads it and its snapshots.
func (p *Publisher) waitFor(ctx context.Context, r *region, i *image) error {
	described, err := r.waitImage(ctx, p.waiter(), i.id)
	if err != nil {
		return err
	}
	i.described = described
	err = r.patiently(ctx, p.waiter(), func(ctx context.Context) (err error) {
		i.snapshots, err = r.snapshotsOf(ctx, described, p.foreignSnapshots())
		return err
	})
	if err != nil {
		return r.explain("describe the snapshots of "+i.id, r.name, err)
	}
	p.say("%s: image %s is available", r.name, i.id)
	return nil
}

// foreignSnapshots are the template's own: they were there before, and stay.
func (p *Publisher) foreignSnapshots() []string {
	var ids []string
	for _, d := range p.AMIMappings {
		if d.SnapshotID != "" {
			ids = append(ids, d.SnapshotID)
		}
	}
	return ids
}

// mappedSnapshots are the snapshots that an image is made of.
func mappedSnapshots(i types.Image) []string {
	var ids []string
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) != "" {
			ids = append(ids, aws.ToString(d.Ebs.SnapshotId))
		}
	}
	return ids
}
