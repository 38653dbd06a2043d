// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/sweep"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

const region = "eu-west-1"

// cloud is a local cloud whose clock can be set back.
type cloud struct {
	*local.Server
	*awsx.Factory
	t    *testing.T
	back atomic.Int64
	ec2  *ec2.Client
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t}
	s, err := local.New(local.Config{
		Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(-time.Duration(c.back.Load())) },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	c.Server = s
	c.Factory, err = awsx.New(t.Context(), awsx.Config{Region: region, AccessKey: "a", SecretKey: "b", EndpointURL: s.Info().Endpoint})
	require.NoError(t, err)
	c.ec2 = c.EC2(region)
	return c
}

// tags are those of temporary things.
func (c *cloud) tags(kind types.ResourceType) []types.TagSpecification {
	created := time.Now().Add(-time.Duration(c.back.Load())).UTC().Format(time.RFC3339)
	return []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{
		{Key: aws.String("rightimage:temporary"), Value: aws.String("b1")},
		{Key: aws.String("rightimage:created"), Value: aws.String(created)},
	}}}
}

// snapshot uploads one block; without complete it stays pending.
func (c *cloud) snapshot(complete bool, publishID string) string {
	c.t.Helper()
	client := c.EBS(region)
	started, err := client.StartSnapshot(c.t.Context(), &ebs.StartSnapshotInput{
		VolumeSize: aws.Int64(1), Tags: []ebstypes.Tag{{Key: aws.String("rightimage:publish-id"), Value: aws.String(publishID)}},
	})
	require.NoError(c.t, err)
	if !complete {
		return *started.SnapshotId
	}
	block := strings.Repeat("x", 512<<10)
	sum := sha256.Sum256([]byte(block))
	_, err = client.PutSnapshotBlock(c.t.Context(), &ebs.PutSnapshotBlockInput{
		SnapshotId: started.SnapshotId, BlockIndex: aws.Int32(0), BlockData: strings.NewReader(block), DataLength: aws.Int32(512 << 10),
		Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	require.NoError(c.t, err)
	_, err = client.CompleteSnapshot(c.t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: aws.Int32(1)})
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool {
		out, err := c.ec2.DescribeSnapshots(c.t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*started.SnapshotId}})
		return err == nil && out.Snapshots[0].State == types.SnapshotStateCompleted
	}, time.Minute, 10*time.Millisecond)
	return *started.SnapshotId
}

// image registers an image; with more tags it is a staging image.
func (c *cloud) image(name, snapshot string, more ...types.Tag) string {
	c.t.Helper()
	out, err := c.ec2.RegisterImage(c.t.Context(), &ec2.RegisterImageInput{
		Name: aws.String(name), Architecture: types.ArchitectureValuesX8664, RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: aws.String(snapshot)}}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: append(more,
			types.Tag{Key: aws.String("rightimage:publish-id"), Value: aws.String(name)})}},
	})
	require.NoError(c.t, err)
	return *out.ImageId
}

// machine makes what a build makes that dies in the middle.
func (c *cloud) machine(imageID, name string) {
	c.t.Helper()
	ctx := c.t.Context()
	group, err := c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(name), Description: aws.String("x"), TagSpecifications: c.tags(types.ResourceTypeSecurityGroup)})
	require.NoError(c.t, err)
	_, err = c.ec2.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String(name), KeyType: types.KeyTypeEd25519, TagSpecifications: c.tags(types.ResourceTypeKeyPair)})
	require.NoError(c.t, err)
	launch := c.tags(types.ResourceTypeInstance)[0]
	_, err = c.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String(name), TagSpecifications: c.tags(types.ResourceTypeLaunchTemplate),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String(imageID), InstanceType: types.InstanceTypeT3Micro, SecurityGroupIds: []string{*group.GroupId}, KeyName: aws.String(name),
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: launch.ResourceType, Tags: launch.Tags}},
		},
	})
	require.NoError(c.t, err)
	_, err = c.ec2.CreateFleet(ctx, &ec2.CreateFleetInput{
		Type: types.FleetTypeInstant, TagSpecifications: c.tags(types.ResourceTypeFleet),
		TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: types.DefaultTargetCapacityTypeSpot},
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String(name), Version: aws.String("1")},
		}},
	})
	require.NoError(c.t, err)
	_, err = c.ec2.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String(imageID), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SecurityGroupIds: []string{*group.GroupId}, TagSpecifications: append(c.tags(types.ResourceTypeInstance), c.tags(types.ResourceTypeVolume)...),
	})
	require.NoError(c.t, err)
	_, err = c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), TagSpecifications: c.tags(types.ResourceTypeVolume)})
	require.NoError(c.t, err)
}

// profile makes a temporary role with its instance profile.
func (c *cloud) profile(name string) {
	c.t.Helper()
	ctx, client := c.t.Context(), c.IAM(region)
	tags := []iamtypes.Tag{{Key: aws.String("rightimage:temporary"), Value: aws.String("b1")}}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	_, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(trust), Tags: tags})
	require.NoError(c.t, err)
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String("build"), PolicyDocument: aws.String(policy)})
	require.NoError(c.t, err)
	_, err = client.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String(name), Tags: tags})
	require.NoError(c.t, err)
	_, err = client.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String(name), RoleName: aws.String(name)})
	require.NoError(c.t, err)
}

func kinds(leftovers []*sweep.Leftover) map[string]int {
	out := map[string]int{}
	for _, l := range leftovers {
		out[l.Kind]++
	}
	return out
}

func TestLocalCloud(t *testing.T) {
	c := startCloud(t)
	c.back.Store(int64(72 * time.Hour))
	snapshot := c.snapshot(true, "good")
	good := c.image("good", snapshot)
	c.image("staging", c.snapshot(true, "staging"), types.Tag{Key: aws.String("rightimage:temporary"), Value: aws.String("p1")})
	c.snapshot(true, "orphan")
	c.snapshot(false, "pending")
	c.machine(good, "rightimage-b1")
	c.profile("rightimage-b1")
	c.back.Store(0)
	c.snapshot(false, "now")
	c.machine(good, "rightimage-b2")
	c.profile("rightimage-b2")

	regions, err := sweep.Regions(t.Context(), c.ec2)
	require.NoError(t, err)
	require.Contains(t, regions, region)
	s := sweep.New(c.Factory)
	r := s.Find(t.Context(), regions)
	require.Empty(t, r.Problems)
	require.Equal(t, map[string]int{
		"fleet": 1, "instance": 2, "launch template": 1, "volume": 1, "security group": 1, "key pair": 1,
		"image": 1, "snapshot": 3, "instance profile": 1, "role": 1,
	}, kinds(r.Leftovers))

	// A group that cannot be deleted stops nothing else.
	_, err = c.Faults().Add(fault.Rule{Action: "DeleteSecurityGroup", Kind: fault.Deny})
	require.NoError(t, err)
	require.ErrorContains(t, s.Remove(t.Context(), r), "UnauthorizedOperation")
	require.Equal(t, map[string]int{"security group": 1}, kinds(r.Left()))
	c.Faults().Remove("")

	r = s.Find(t.Context(), regions)
	require.Equal(t, map[string]int{"security group": 1}, kinds(r.Leftovers))
	require.NoError(t, s.Remove(t.Context(), r))
	r = s.Find(t.Context(), regions)
	require.Empty(t, r.Leftovers)

	// What is young or in use is all there.
	s.OlderThan = 0
	r = s.Find(t.Context(), regions)
	require.Equal(t, map[string]int{
		"fleet": 1, "instance": 2, "launch template": 1, "volume": 1, "security group": 1, "key pair": 1, "snapshot": 1, "instance profile": 1, "role": 1,
	}, kinds(r.Leftovers))
	images, err := c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	require.Len(t, images.Images, 1)
	require.Equal(t, good, *images.Images[0].ImageId)
	require.Equal(t, snapshot, *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId)
}
