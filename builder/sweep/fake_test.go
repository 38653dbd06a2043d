// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// account is one region and the IAM of an account, with the rules by which
// things hold each other.
type account struct {
	mu    sync.Mutex
	calls []string          // changes, such as "DeleteVolume vol-1"
	deny  map[string]string // error code by call or by "Call id"
	used  map[string]bool   // calls that were made
	// ending counts the looks at an instance until it is terminated.
	ending map[string]int

	fleetTags []types.TagDescription
	fleets    []types.FleetData
	instances []types.Instance
	templates []types.LaunchTemplate
	volumes   []types.Volume
	groups    []types.SecurityGroup
	keys      []types.KeyPairInfo
	images    []types.Image
	snapshots []types.Snapshot
	roles     []iamtypes.Role
	policies  map[string][]string
	profiles  []iamtypes.InstanceProfile
}

// look notes a call and answers with the error that the test wants.
func (a *account) look(call string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used == nil {
		a.used = map[string]bool{}
	}
	a.used[call] = true
	if code := a.deny[call]; code != "" {
		return refused(code)
	}
	return nil
}

// change is look for a call that changes something.
func (a *account) change(call, id string) error {
	if err := a.look(call); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if code := a.deny[call+" "+id]; code != "" {
		return refused(code)
	}
	a.calls = append(a.calls, call+" "+id)
	return nil
}

func refused(code string) error { return &smithy.GenericAPIError{Code: code, Message: "no"} }

// drop removes the one thing with the id.
func drop[T any](list *[]T, is func(T) bool) error {
	n := len(*list)
	*list = slices.DeleteFunc(*list, is)
	if len(*list) == n {
		return refused("Invalid.NotFound")
	}
	return nil
}

func (a *account) DescribeTags(context.Context, *ec2.DescribeTagsInput, ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error) {
	return &ec2.DescribeTagsOutput{Tags: a.fleetTags}, a.look("DescribeTags")
}

func (a *account) DescribeFleets(_ context.Context, in *ec2.DescribeFleetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeFleetsOutput, error) {
	out := &ec2.DescribeFleetsOutput{}
	for _, f := range a.fleets {
		if slices.Contains(in.FleetIds, *f.FleetId) {
			out.Fleets = append(out.Fleets, f)
		}
	}
	return out, a.look("DescribeFleets")
}

func (a *account) DeleteFleets(_ context.Context, in *ec2.DeleteFleetsInput, _ ...func(*ec2.Options)) (*ec2.DeleteFleetsOutput, error) {
	return &ec2.DeleteFleetsOutput{}, a.change("DeleteFleets", in.FleetIds[0])
}

func (a *account) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	out := &ec2.DescribeInstancesOutput{}
	for _, i := range a.instances {
		if len(in.InstanceIds) > 0 && !slices.Contains(in.InstanceIds, *i.InstanceId) {
			continue
		}
		if left, ends := a.ending[*i.InstanceId]; ends && len(in.InstanceIds) > 0 {
			i.State = &types.InstanceState{Name: types.InstanceStateNameShuttingDown}
			if left == 0 {
				i.State = &types.InstanceState{Name: types.InstanceStateNameTerminated}
			}
			a.ending[*i.InstanceId] = max(left-1, 0)
		}
		out.Reservations = append(out.Reservations, types.Reservation{Instances: []types.Instance{i}})
	}
	return out, a.look("DescribeInstances")
}

func (a *account) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	id := in.InstanceIds[0]
	if _, ends := a.ending[id]; ends {
		return &ec2.TerminateInstancesOutput{}, nil
	}
	err := a.change("TerminateInstances", id)
	if err == nil {
		a.ending[id] = 2
	}
	return &ec2.TerminateInstancesOutput{}, err
}

func (a *account) DescribeLaunchTemplates(context.Context, *ec2.DescribeLaunchTemplatesInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplatesOutput, error) {
	return &ec2.DescribeLaunchTemplatesOutput{LaunchTemplates: a.templates}, a.look("DescribeLaunchTemplates")
}

func (a *account) DeleteLaunchTemplate(_ context.Context, in *ec2.DeleteLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateOutput, error) {
	return nil, a.change("DeleteLaunchTemplate", *in.LaunchTemplateId)
}

func (a *account) DescribeVolumes(context.Context, *ec2.DescribeVolumesInput, ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error) {
	return &ec2.DescribeVolumesOutput{Volumes: a.volumes}, a.look("DescribeVolumes")
}

func (a *account) DeleteVolume(_ context.Context, in *ec2.DeleteVolumeInput, _ ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error) {
	return nil, a.change("DeleteVolume", *in.VolumeId)
}

func (a *account) DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: a.groups}, a.look("DescribeSecurityGroups")
}

// DeleteSecurityGroup is refused while an instance is there.
func (a *account) DeleteSecurityGroup(_ context.Context, in *ec2.DeleteSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error) {
	for _, left := range a.ending {
		if left > 0 {
			return nil, refused("DependencyViolation")
		}
	}
	return nil, a.change("DeleteSecurityGroup", *in.GroupId)
}

func (a *account) DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error) {
	return &ec2.DescribeKeyPairsOutput{KeyPairs: a.keys}, a.look("DescribeKeyPairs")
}

func (a *account) DeleteKeyPair(_ context.Context, in *ec2.DeleteKeyPairInput, _ ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error) {
	return nil, a.change("DeleteKeyPair", *in.KeyName)
}

func (a *account) DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	return &ec2.DescribeImagesOutput{Images: slices.Clone(a.images)}, a.look("DescribeImages")
}

func (a *account) DeregisterImage(_ context.Context, in *ec2.DeregisterImageInput, _ ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error) {
	if err := a.change("DeregisterImage", *in.ImageId); err != nil {
		return nil, err
	}
	return nil, drop(&a.images, func(i types.Image) bool { return *i.ImageId == *in.ImageId })
}

func (a *account) DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return &ec2.DescribeSnapshotsOutput{Snapshots: a.snapshots}, a.look("DescribeSnapshots")
}

// DeleteSnapshot is refused while an image uses the snapshot.
func (a *account) DeleteSnapshot(_ context.Context, in *ec2.DeleteSnapshotInput, _ ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error) {
	for _, i := range a.images {
		for _, d := range i.BlockDeviceMappings {
			if *d.Ebs.SnapshotId == *in.SnapshotId {
				return nil, refused("InvalidSnapshot.InUse")
			}
		}
	}
	return nil, a.change("DeleteSnapshot", *in.SnapshotId)
}

func (a *account) ListRoles(context.Context, *iam.ListRolesInput, ...func(*iam.Options)) (*iam.ListRolesOutput, error) {
	var bare []iamtypes.Role // as in AWS, listings show no tags
	for _, r := range a.roles {
		r.Tags = nil
		bare = append(bare, r)
	}
	return &iam.ListRolesOutput{Roles: bare}, a.look("ListRoles")
}

func (a *account) GetRole(_ context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	for _, r := range a.roles {
		if *r.RoleName == *in.RoleName {
			return &iam.GetRoleOutput{Role: &r}, a.look("GetRole")
		}
	}
	return nil, refused("NoSuchEntity")
}

func (a *account) ListRolePolicies(_ context.Context, in *iam.ListRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListRolePoliciesOutput, error) {
	return &iam.ListRolePoliciesOutput{PolicyNames: a.policies[*in.RoleName]}, a.look("ListRolePolicies")
}

func (a *account) DeleteRolePolicy(_ context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	a.policies[*in.RoleName] = slices.DeleteFunc(slices.Clone(a.policies[*in.RoleName]), func(s string) bool { return s == *in.PolicyName })
	return nil, a.change("DeleteRolePolicy", *in.RoleName+" "+*in.PolicyName)
}

// DeleteRole is refused while the role has policies or is in a profile.
func (a *account) DeleteRole(_ context.Context, in *iam.DeleteRoleInput, _ ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	inProfile := slices.ContainsFunc(a.profiles, func(p iamtypes.InstanceProfile) bool { return len(p.Roles) > 0 && *p.Roles[0].RoleName == *in.RoleName })
	if inProfile || len(a.policies[*in.RoleName]) > 0 {
		return nil, refused("DeleteConflict")
	}
	return nil, a.change("DeleteRole", *in.RoleName)
}

func (a *account) ListInstanceProfiles(context.Context, *iam.ListInstanceProfilesInput, ...func(*iam.Options)) (*iam.ListInstanceProfilesOutput, error) {
	var bare []iamtypes.InstanceProfile
	for _, p := range a.profiles {
		p.Tags = nil
		bare = append(bare, p)
	}
	return &iam.ListInstanceProfilesOutput{InstanceProfiles: bare}, a.look("ListInstanceProfiles")
}

func (a *account) GetInstanceProfile(_ context.Context, in *iam.GetInstanceProfileInput, _ ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error) {
	for _, p := range a.profiles {
		if *p.InstanceProfileName == *in.InstanceProfileName {
			return &iam.GetInstanceProfileOutput{InstanceProfile: &p}, a.look("GetInstanceProfile")
		}
	}
	return nil, refused("NoSuchEntity")
}

func (a *account) RemoveRoleFromInstanceProfile(_ context.Context, in *iam.RemoveRoleFromInstanceProfileInput, _ ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	for i, p := range a.profiles {
		if *p.InstanceProfileName == *in.InstanceProfileName {
			a.profiles[i].Roles = nil
		}
	}
	return nil, a.change("RemoveRoleFromInstanceProfile", *in.InstanceProfileName)
}

func (a *account) DeleteInstanceProfile(_ context.Context, in *iam.DeleteInstanceProfileInput, _ ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error) {
	return nil, a.change("DeleteInstanceProfile", *in.InstanceProfileName)
}

// sweeperOf sweeps one account that is the same in all regions.
func sweeperOf(a *account) *Sweeper {
	a.ending = map[string]int{}
	clock := &wait.Fake{}
	_ = clock.Sleep(context.Background(), now)
	return &Sweeper{
		OlderThan: DefaultAge, Clock: clock, iam: a,
		regions: func(string) regionAPI { return a },
		command: func(service, region, verb string, args ...string) string {
			return strings.Join(append([]string{"aws", service, verb, "--region", region}, args...), " ")
		},
		explain: func(op, region string, err error) error { return fmt.Errorf("%s in %s: %w", op, region, err) },
	}
}

func tagsOf(m map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(m[k])})
	}
	return out
}
