// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// register makes an image of a snapshot. RegisterImage has no idempotency
// token, so a lost reply is made good by looking for the name: an image of that
// name over our snapshot is ours.
func (p *publisher) register(ctx context.Context, r *region, snapshotID string, owed *ledger.Ledger) (string, error) {
	unknown := r.oweUnknownImage(owed, p.AMIName, snapshotID)
	out, err := r.images.RegisterImage(ctx, p.registration(snapshotID))
	if err == nil {
		id := aws.ToString(out.ImageId)
		r.oweImage(owed, id)
		owed.Forgive(unknown)
		return id, nil
	}
	if awsx.Class(err) == awsx.Conflict {
		images, findErr := r.imagesNamed(ctx, p.AMIName, awsx.Quick)
		if id := imageOf(images, snapshotID); findErr == nil && id != "" {
			r.oweImage(owed, id)
			owed.Forgive(unknown)
			return id, nil
		}
	}
	if certainlyNothing(err) {
		owed.Forgive(unknown)
	}
	return "", r.explain("register image", r.name, err)
}

// registration is the request. Tags are part of it, so that no
// moment passes in which the image has none.
func (p *publisher) registration(snapshotID string) *ec2.RegisterImageInput {
	device := &types.EbsBlockDevice{
		SnapshotId:          aws.String(snapshotID),
		DeleteOnTermination: aws.Bool(true),
		VolumeType:          types.VolumeType(p.VolumeType),
	}
	if p.VolumeSize > 0 {
		device.VolumeSize = aws.Int32(int32(p.VolumeSize)) // Prepare holds it to 65536
	}
	in := &ec2.RegisterImageInput{
		Name:               aws.String(p.AMIName),
		Architecture:       types.ArchitectureValues(p.AMIArchitecture),
		BootMode:           types.BootModeValues(p.BootMode),
		EnaSupport:         aws.Bool(!p.EnaSupport.False()),
		VirtualizationType: aws.String("hvm"),
		RootDeviceName:     aws.String(p.RootDeviceName),
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String(p.RootDeviceName), Ebs: device},
		},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: ec2Tags(p.imageTags())},
		},
	}
	if p.AMIDescription != "" {
		in.Description = aws.String(p.AMIDescription)
	}
	if p.IMDSSupport == imdsV2 {
		in.ImdsSupport = types.ImdsSupportValuesV20
	}
	return in
}
