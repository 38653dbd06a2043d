// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// register makes an image of snapshots. RegisterImage has no idempotency token,
// so a lost reply is made good by looking for what has the name: an image with
// our tag is ours. When it is the image that was just deregistered, not every
// machine of the service knows yet.
func (p *Publisher) register(ctx context.Context, r *region, in *ec2.RegisterImageInput, owed *ledger.Ledger) (string, error) {
	unknown := r.oweUnknownImage(owed, p.publishID)
	id, start := "", time.Now()
	err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
		out, err := r.images.RegisterImage(ctx, in)
		if err == nil {
			id = aws.ToString(out.ImageId)
			return nil
		}
		if awsx.Class(err) != awsx.Conflict {
			return err
		}
		images, findErr := r.imagesNamed(ctx, aws.ToString(in.Name))
		for _, i := range images {
			if tagOf(i.Tags, tagPublishID) == p.publishID {
				id = aws.ToString(i.ImageId)
				return nil
			}
			if r.removed(aws.ToString(i.ImageId)) && time.Since(start) < r.notYet {
				return errAbsent // the name is not free yet
			}
		}
		if findErr == nil && len(images) == 0 && len(r.replaced) > 0 && time.Since(start) < r.notYet {
			return errAbsent
		}
		return err
	})
	if err == nil {
		r.oweImage(owed, id)
		owed.Forgive(unknown)
		return id, nil
	}
	if awsx.MadeNothing(ctx, err) {
		owed.Forgive(unknown)
	}
	return "", r.explain("register image", r.name, err)
}

// registration is the request for an image of a disk. Tags are part of it, so
// that no moment passes in which the image has none.
func (p *Publisher) registration(name, snapshotID string, tags map[string]string) *ec2.RegisterImageInput {
	device := &types.EbsBlockDevice{
		SnapshotId:          aws.String(snapshotID),
		DeleteOnTermination: aws.Bool(true),
		VolumeType:          types.VolumeType(p.VolumeType),
		VolumeSize:          number(p.VolumeSize),
		Iops:                number(p.VolumeIOPS),
		Throughput:          number(p.VolumeThroughput),
	}
	in := &ec2.RegisterImageInput{
		Name:               aws.String(name),
		Description:        text(p.AMIDescription),
		Architecture:       types.ArchitectureValues(p.AMIArchitecture),
		BootMode:           types.BootModeValues(p.BootMode),
		UefiData:           text(p.UefiData),
		TpmSupport:         types.TpmSupportValues(p.TpmSupport),
		EnaSupport:         aws.Bool(!p.EnaSupport.False()),
		VirtualizationType: aws.String("hvm"),
		RootDeviceName:     aws.String(p.RootDeviceName),
		BlockDeviceMappings: append([]types.BlockDeviceMapping{
			{DeviceName: aws.String(p.RootDeviceName), Ebs: device},
		}, Mappings(p.AMIMappings)...),
		TagSpecifications: tagged(types.ResourceTypeImage, tags),
	}
	if p.IMDSSupport == imdsV2 {
		in.ImdsSupport = types.ImdsSupportValuesV20
	}
	return in
}

// Mappings turns devices into EC2's form.
func Mappings(devices []BlockDevice) []types.BlockDeviceMapping {
	var out []types.BlockDeviceMapping
	for _, d := range devices {
		m := types.BlockDeviceMapping{DeviceName: aws.String(d.DeviceName)}
		switch {
		case d.NoDevice:
			m.NoDevice = aws.String("")
		case d.VirtualName != "":
			m.VirtualName = aws.String(d.VirtualName)
		default:
			m.Ebs = &types.EbsBlockDevice{
				SnapshotId:          text(d.SnapshotID),
				VolumeSize:          number(d.VolumeSize),
				VolumeType:          types.VolumeType(d.VolumeType),
				Iops:                number(d.IOPS),
				Throughput:          number(d.Throughput),
				Encrypted:           d.Encrypted.ToBoolPointer(),
				KmsKeyId:            text(d.KmsKeyID),
				DeleteOnTermination: aws.Bool(!d.DeleteOnTermination.False()),
			}
		}
		out = append(out, m)
	}
	return out
}

// again is the request that makes an image anew over the snapshots that it has.
func again(i types.Image, uefiData string) *ec2.RegisterImageInput {
	in := &ec2.RegisterImageInput{
		Name:               i.Name,
		Description:        i.Description,
		Architecture:       i.Architecture,
		BootMode:           i.BootMode,
		UefiData:           text(uefiData),
		TpmSupport:         i.TpmSupport,
		EnaSupport:         i.EnaSupport,
		SriovNetSupport:    i.SriovNetSupport,
		VirtualizationType: aws.String(string(i.VirtualizationType)),
		RootDeviceName:     i.RootDeviceName,
		KernelId:           i.KernelId,
		RamdiskId:          i.RamdiskId,
		TagSpecifications:  tagged(types.ResourceTypeImage, tagMap(i.Tags)),
	}
	if i.ImdsSupport == types.ImdsSupportValuesV20 {
		in.ImdsSupport = i.ImdsSupport
	}
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil {
			ebs := *d.Ebs
			ebs.KmsKeyId = nil
			if ebs.SnapshotId != nil {
				ebs.Encrypted = nil // it is as its snapshot is, and EC2 does not want to hear it
			}
			d.Ebs = &ebs
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, d)
	}
	return in
}

// number and text leave out what is not set.
func number(n int64) *int32 {
	if n == 0 {
		return nil
	}
	return aws.Int32(int32(n)) // Prepare holds all of them far below 2^31
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}
