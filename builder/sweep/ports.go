// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// regionLister knows the regions. *ec2.Client fits.
type regionLister interface {
	DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error)
}

// fleetAPI ends spot fleets. DescribeFleets knows no filter by tag, and instant
// fleets only by id, so that tags tell them. *ec2.Client fits, as it does
// everything that follows.
type fleetAPI interface {
	ec2.DescribeTagsAPIClient
	ec2.DescribeFleetsAPIClient
	DeleteFleets(context.Context, *ec2.DeleteFleetsInput, ...func(*ec2.Options)) (*ec2.DeleteFleetsOutput, error)
}

// instanceAPI ends instances.
type instanceAPI interface {
	ec2.DescribeInstancesAPIClient
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// templateAPI deletes launch templates.
type templateAPI interface {
	ec2.DescribeLaunchTemplatesAPIClient
	DeleteLaunchTemplate(context.Context, *ec2.DeleteLaunchTemplateInput, ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateOutput, error)
}

// volumeAPI deletes volumes.
type volumeAPI interface {
	ec2.DescribeVolumesAPIClient
	DeleteVolume(context.Context, *ec2.DeleteVolumeInput, ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error)
}

// groupAPI deletes security groups.
type groupAPI interface {
	ec2.DescribeSecurityGroupsAPIClient
	DeleteSecurityGroup(context.Context, *ec2.DeleteSecurityGroupInput, ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error)
}

// keyAPI deletes key pairs.
type keyAPI interface {
	DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error)
	DeleteKeyPair(context.Context, *ec2.DeleteKeyPairInput, ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error)
}

// imageAPI deregisters images.
type imageAPI interface {
	ec2.DescribeImagesAPIClient
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
}

// snapshotAPI deletes snapshots.
type snapshotAPI interface {
	ec2.DescribeSnapshotsAPIClient
	DeleteSnapshot(context.Context, *ec2.DeleteSnapshotInput, ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error)
}

// regionAPI is all of EC2 that sweeping uses.
type regionAPI interface {
	fleetAPI
	instanceAPI
	templateAPI
	volumeAPI
	groupAPI
	keyAPI
	imageAPI
	snapshotAPI
}

// roleAPI deletes roles. *iam.Client fits.
type roleAPI interface {
	iam.ListRolesAPIClient
	iam.ListRolePoliciesAPIClient
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	DeleteRolePolicy(context.Context, *iam.DeleteRolePolicyInput, ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error)
	DeleteRole(context.Context, *iam.DeleteRoleInput, ...func(*iam.Options)) (*iam.DeleteRoleOutput, error)
}

// profileAPI deletes instance profiles. *iam.Client fits.
type profileAPI interface {
	iam.ListInstanceProfilesAPIClient
	GetInstanceProfile(context.Context, *iam.GetInstanceProfileInput, ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error)
	RemoveRoleFromInstanceProfile(context.Context, *iam.RemoveRoleFromInstanceProfileInput, ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error)
	DeleteInstanceProfile(context.Context, *iam.DeleteInstanceProfileInput, ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error)
}

// iamAPI is all of IAM that sweeping uses.
type iamAPI interface {
	roleAPI
	profileAPI
}

var (
	_ regionAPI = (*ec2.Client)(nil)
	_ iamAPI    = (*iam.Client)(nil)
)
