// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// setAttributes gives the images what cannot be part of the request that makes
// them. They need no undo of their own: they go with their image.
func (p *Publisher) setAttributes(ctx context.Context, b *build) error {
	at, err := p.deprecation(time.Now())
	if err != nil {
		return err
	}
	return each(ctx, p.regions, regionsAtOnce, func(ctx context.Context, r *region) error {
		i := b.images[r]
		if !at.IsZero() {
			err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
				_, err := r.attributes.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: aws.String(i.id), DeprecateAt: aws.Time(at)})
				return err
			})
			if err != nil {
				return r.explain("set the deprecation of image "+i.id, r.name, err)
			}
			i.deprecation = at.Format(time.RFC3339)
		}
		if p.IMDSSupport != imdsV2 || i.described.ImdsSupport == types.ImdsSupportValuesV20 {
			return nil
		}
		err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
			_, err := r.attributes.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
				ImageId: aws.String(i.id), ImdsSupport: &types.AttributeValue{Value: aws.String(imdsV2)},
			})
			return err
		})
		return r.explain("require IMDSv2 of image "+i.id, r.name, err)
	})
}

// share gives others access. It comes last of what happens to the images
// themselves, snapshots before images: who can see an image can use all of it.
func (p *Publisher) share(ctx context.Context, b *build) error {
	return each(ctx, p.regions, regionsAtOnce, func(ctx context.Context, r *region) error {
		i := b.images[r]
		if p.sharesSnapshots() {
			for _, id := range i.snapshotIDs() {
				if err := p.shareSnapshot(ctx, r, id); err != nil {
					return err
				}
			}
		}
		if !p.sharesImage() {
			return nil
		}
		err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
			_, err := r.attributes.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
				ImageId: aws.String(i.id), LaunchPermission: &types.LaunchPermissionModifications{Add: p.launchPermissions()},
			})
			return err
		})
		if err == nil {
			p.say("%s: image %s is shared", r.name, i.id)
		}
		return r.explain("share image "+i.id, r.name, err)
	})
}

func (p *Publisher) launchPermissions() []types.LaunchPermission {
	var all []types.LaunchPermission
	for _, id := range p.AMIUsers {
		all = append(all, types.LaunchPermission{UserId: aws.String(id)})
	}
	for _, arn := range p.AMIOrgARNs {
		all = append(all, types.LaunchPermission{OrganizationArn: aws.String(arn)})
	}
	for _, arn := range p.AMIOUARNs {
		all = append(all, types.LaunchPermission{OrganizationalUnitArn: aws.String(arn)})
	}
	for _, group := range p.AMIGroups {
		all = append(all, types.LaunchPermission{Group: types.PermissionGroup(group)})
	}
	return all
}

func (p *Publisher) shareSnapshot(ctx context.Context, r *region, id string) error {
	var add []types.CreateVolumePermission
	for _, user := range p.SnapshotUsers {
		add = append(add, types.CreateVolumePermission{UserId: aws.String(user)})
	}
	for _, group := range p.SnapshotGroups {
		add = append(add, types.CreateVolumePermission{Group: types.PermissionGroup(group)})
	}
	err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
		_, err := r.snapshots.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
			SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: add},
		})
		return err
	})
	return r.explain("share snapshot "+id, r.name, err)
}

// protect guards the images against being deregistered. It is the last thing
// that can fail: with a cool-down, nothing could be undone for 24 hours.
func (p *Publisher) protect(ctx context.Context, b *build) error {
	if !p.Protection.Enabled {
		return nil
	}
	for _, r := range p.regions {
		id := b.images[r].id
		r.oweProtection(&b.owed, id)
		_, err := r.attributes.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{
			ImageId: aws.String(id), WithCooldown: aws.Bool(p.Protection.WithCooldown),
		})
		if err != nil {
			return r.explain("protect image "+id, r.name, err)
		}
	}
	return nil
}
