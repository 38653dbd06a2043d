// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// Inventory lists everything that an account has in some regions of the cloud
// at an endpoint, as "region kind id". Terminated machines are gone, and
// default groups and VPCs were always there.
func Inventory(ctx context.Context, endpoint string, regions ...string) ([]string, error) {
	keys := credentials.NewStaticCredentialsProvider("local", "local", "")
	var out []string
	for _, region := range regions {
		api := ec2.New(ec2.Options{Region: region, BaseEndpoint: aws.String(endpoint), Credentials: keys})
		for _, list := range []func(context.Context, *ec2.Client) ([]string, error){images, snapshots, volumes, machines, keyPairs, groups, templates, fleets} {
			found, err := list(ctx, api)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", region, err)
			}
			for _, f := range found {
				out = append(out, region+" "+f)
			}
		}
	}
	found, err := identities(ctx, iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: keys}))
	out = append(out, found...)
	slices.Sort(out)
	return out, err
}

// each turns things into lines.
func each[T any](kind string, things []T, id func(T) *string, keep func(T) bool) []string {
	var out []string
	for _, t := range things {
		if keep == nil || keep(t) {
			out = append(out, kind+" "+aws.ToString(id(t)))
		}
	}
	return out
}

func images(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return each("image", out.Images, func(i types.Image) *string { return i.ImageId }, nil), nil
}

func snapshots(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		return nil, err
	}
	return each("snapshot", out.Snapshots, func(s types.Snapshot) *string { return s.SnapshotId }, nil), nil
}

func volumes(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
	if err != nil {
		return nil, err
	}
	return each("volume", out.Volumes, func(v types.Volume) *string { return v.VolumeId }, nil), nil
}

func machines(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	if err != nil {
		return nil, err
	}
	var all []types.Instance
	for _, r := range out.Reservations {
		all = append(all, r.Instances...)
	}
	return each("instance", all, func(i types.Instance) *string { return i.InstanceId },
		func(i types.Instance) bool { return i.State.Name != types.InstanceStateNameTerminated }), nil
}

func keyPairs(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	if err != nil {
		return nil, err
	}
	return each("key pair", out.KeyPairs, func(k types.KeyPairInfo) *string { return k.KeyName }, nil), nil
}

func groups(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{})
	if err != nil {
		return nil, err
	}
	return each("security group", out.SecurityGroups, func(g types.SecurityGroup) *string { return g.GroupId },
		func(g types.SecurityGroup) bool { return aws.ToString(g.GroupName) != "default" }), nil
}

func templates(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
	if err != nil {
		return nil, err
	}
	return each("launch template", out.LaunchTemplates, func(t types.LaunchTemplate) *string { return t.LaunchTemplateId }, nil), nil
}

func fleets(ctx context.Context, api *ec2.Client) ([]string, error) {
	out, err := api.DescribeFleets(ctx, &ec2.DescribeFleetsInput{})
	if err != nil {
		return nil, err
	}
	return each("fleet", out.Fleets, func(f types.FleetData) *string { return f.FleetId }, func(f types.FleetData) bool {
		return f.FleetState != types.FleetStateCodeDeleted && f.FleetState != types.FleetStateCodeDeletedTerminatingInstances
	}), nil
}

func identities(ctx context.Context, api *iam.Client) ([]string, error) {
	roles, err := api.ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil {
		return nil, err
	}
	profiles, err := api.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range roles.Roles {
		out = append(out, "role "+aws.ToString(r.RoleName))
	}
	for _, p := range profiles.InstanceProfiles {
		out = append(out, "instance profile "+aws.ToString(p.InstanceProfileName))
	}
	return out, nil
}
