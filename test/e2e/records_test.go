// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestStockBuilderOnRecords runs what else the stock builder can do against a
// cloud that boots nothing, twice: the second build replaces an AMI of the first.
func TestStockBuilderOnRecords(t *testing.T) {
	needE2E(t)
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Minute)
	defer cancel()
	env, err := chain.New("stock", testWriter{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	cloud, err := env.StartCloud(ctx, "", "--no-boot", "--settle", "100ms")
	require.NoError(t, err)
	source := recordImage(ctx, t, cloud)
	deprecated := time.Now().Add(90 * 24 * time.Hour).UTC().Truncate(time.Minute)
	vars := []string{"endpoint=" + cloud.Endpoint, "source_ami=" + source, "deprecate_at=" + deprecated.Format(time.RFC3339)}
	stockBuild(ctx, t, env, "amazon-ebs-records.pkr.hcl", vars...)

	eu := cloud.EC2.Options().Copy()
	eu.Region = "eu-west-1"
	for region, client := range map[string]*ec2.Client{chain.Region: cloud.EC2, "eu-west-1": ec2.New(eu)} {
		image := imageNamed(ctx, t, client, "stock-spot")
		require.Equal(t, deprecated.Format("2006-01-02T15:04:05.000Z"), *image.DeprecationTime, region)
		require.Equal(t, "enabled-without-cooldown", aws.ToString(image.DeregistrationProtection), region)
		require.Equal(t, types.ImdsSupportValuesV20, image.ImdsSupport, region)
		require.True(t, *image.BlockDeviceMappings[0].Ebs.Encrypted, region)
	}
	first := imageNamed(ctx, t, cloud.EC2, "stock-plain")
	require.Len(t, first.BlockDeviceMappings, 3)
	shared, err := cloud.EC2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: first.ImageId, Attribute: "launchPermission"})
	require.NoError(t, err)
	require.Equal(t, "123456789012", *shared.LaunchPermissions[0].UserId)

	stockBuild(ctx, t, env, "amazon-ebs-records.pkr.hcl", append(vars, "spot=false")...)
	require.NotEqual(t, *first.ImageId, *imageNamed(ctx, t, cloud.EC2, "stock-plain").ImageId)
	snapshots, err := cloud.EC2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{})
	require.NoError(t, err)
	require.Len(t, snapshots.Snapshots, 4, "of the source, of the copy, and two of the newer AMI")
	volumes, err := cloud.EC2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
	require.NoError(t, err)
	require.Empty(t, volumes.Volumes)
	templates, err := cloud.EC2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
	require.NoError(t, err)
	require.Empty(t, templates.LaunchTemplates)
}

func imageNamed(ctx context.Context, t *testing.T, client *ec2.Client, name string) types.Image {
	t.Helper()
	out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
	require.NoError(t, err)
	require.Len(t, out.Images, 1)
	return out.Images[0]
}

// recordImage registers an image of a blank volume.
func recordImage(ctx context.Context, t *testing.T, cloud *chain.Cloud) string {
	t.Helper()
	vol, err := cloud.EC2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(chain.Region + "a"), Size: aws.Int32(1)})
	require.NoError(t, err)
	snap, err := cloud.EC2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: vol.VolumeId})
	require.NoError(t, err)
	require.NoError(t, ec2.NewSnapshotCompletedWaiter(cloud.EC2, func(o *ec2.SnapshotCompletedWaiterOptions) { o.MinDelay, o.MaxDelay = time.Second, time.Second }).
		Wait(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snap.SnapshotId}}, time.Minute))
	_, err = cloud.EC2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: vol.VolumeId})
	require.NoError(t, err)
	image, err := cloud.EC2.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: aws.String("records-1"), Architecture: types.ArchitectureValuesX8664, VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		RootDeviceName:      aws.String("/dev/xvda"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: snap.SnapshotId}}},
	})
	require.NoError(t, err)
	return *image.ImageId
}
