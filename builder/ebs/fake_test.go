// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

func apiError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the message of " + code}
}

// errLost is a reply that never came.
var errLost = apiError("InternalError")

// cloud is an account of which one knows exactly what is in it. It records the
// calls and fails those that a test names.
type cloud struct {
	mu    sync.Mutex
	calls []string
	in    map[string]any // last input by call
	// hook is asked before each call; with an error and carry the call is carried
	// out all the same.
	hook func(name string, nth int) (err error, carry bool)

	images     []types.Image
	vpcs       []types.Vpc
	subnets    []types.Subnet
	groups     map[string]types.SecurityGroup
	kinds      []types.InstanceTypeInfo
	offered    []string // zones
	keys       map[string][]types.Tag
	machines   map[string]*types.Instance
	shutting   int // how often a terminated machine shows itself shutting down
	volumes    map[string]types.Volume
	templates  map[string]types.LaunchTemplate
	fleets     map[string]bool
	roles      map[string][]string // policies
	profiles   map[string][]string // roles
	parameters map[string]string
	noSpot     []types.CreateFleetError
}

var (
	_ control = (*cloud)(nil)
	_ access  = (*cloud)(nil)
)

func newCloud() *cloud {
	return &cloud{
		in:       map[string]any{},
		vpcs:     []types.Vpc{{VpcId: aws.String("vpc-1"), IsDefault: aws.Bool(true), CidrBlock: aws.String("10.0.0.0/16")}},
		subnets:  []types.Subnet{subnet("subnet-a", "vpc-1", "us-east-1a", 10), subnet("subnet-b", "vpc-1", "us-east-1b", 200)},
		groups:   map[string]types.SecurityGroup{"sg-old": {GroupId: aws.String("sg-old"), GroupName: aws.String("old"), VpcId: aws.String("vpc-1")}},
		offered:  []string{"us-east-1a", "us-east-1b"},
		keys:     map[string][]types.Tag{},
		machines: map[string]*types.Instance{}, volumes: map[string]types.Volume{}, templates: map[string]types.LaunchTemplate{},
		fleets: map[string]bool{}, roles: map[string][]string{}, profiles: map[string][]string{}, parameters: map[string]string{},
	}
}

func subnet(id, vpc, zone string, free int32) types.Subnet {
	return types.Subnet{SubnetId: aws.String(id), VpcId: aws.String(vpc), AvailabilityZone: aws.String(zone), AvailableIpAddressCount: aws.Int32(free), MapPublicIpOnLaunch: aws.Bool(true)}
}

// left lists what is in the account and was not there before.
func (c *cloud) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	add := func(kind, id string) { out = append(out, kind+" "+id) }
	for id := range c.keys {
		add("key", id)
	}
	for id := range c.groups {
		if id != "sg-old" {
			add("group", id)
		}
	}
	for id, m := range c.machines {
		if m.State.Name != types.InstanceStateNameTerminated {
			add("machine", id)
		}
	}
	for id := range c.volumes {
		add("volume", id)
	}
	for id := range c.templates {
		add("template", id)
	}
	for id := range c.fleets {
		add("fleet", id)
	}
	for id := range c.roles {
		add("role", id)
	}
	for id := range c.profiles {
		add("profile", id)
	}
	slices.Sort(out)
	return out
}

// serve records a call and carries it out, or not.
func serve[O any](ctx context.Context, c *cloud, name string, in any, do func() (*O, error)) (*O, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, name)
	c.in[name] = in
	if c.hook != nil {
		if err, carry := c.hook(name, len(c.calls)); err != nil {
			if carry {
				_, _ = do()
			}
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return do()
}

func matches(tags []types.Tag, by []types.Filter) bool {
	for _, f := range by {
		if key, ok := strings.CutPrefix(aws.ToString(f.Name), "tag:"); ok && !slices.Contains(f.Values, tagOf(tags, key)) {
			return false
		}
	}
	return true
}

func specs(list []types.TagSpecification, kind types.ResourceType) []types.Tag {
	for _, s := range list {
		if s.ResourceType == kind {
			return s.Tags
		}
	}
	return nil
}

func (c *cloud) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	return serve(ctx, c, "DescribeImages", in, func() (*ec2.DescribeImagesOutput, error) {
		out := &ec2.DescribeImagesOutput{}
		for _, i := range c.images {
			if (len(in.ImageIds) == 0 || slices.Contains(in.ImageIds, aws.ToString(i.ImageId))) && matches(i.Tags, in.Filters) {
				out.Images = append(out.Images, i)
			}
		}
		if n := len(out.Images); n > 2 && in.NextToken == nil { // in two pages
			out.Images, out.NextToken = out.Images[:2], aws.String("2")
		} else if in.NextToken != nil {
			out.Images = out.Images[2:]
		}
		return out, nil
	})
}

func (c *cloud) CreateImage(ctx context.Context, in *ec2.CreateImageInput, _ ...func(*ec2.Options)) (*ec2.CreateImageOutput, error) {
	return serve(ctx, c, "CreateImage", in, func() (*ec2.CreateImageOutput, error) {
		for _, i := range c.images {
			if aws.ToString(i.Name) == aws.ToString(in.Name) {
				return nil, apiError("InvalidAMIName.Duplicate")
			}
		}
		c.images = append(c.images, types.Image{ImageId: aws.String("ami-new"), Name: in.Name, Tags: specs(in.TagSpecifications, types.ResourceTypeImage)})
		return &ec2.CreateImageOutput{ImageId: aws.String("ami-new")}, nil
	})
}

func (c *cloud) GetParameter(ctx context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	return serve(ctx, c, "GetParameter", in, func() (*ssm.GetParameterOutput, error) {
		v, ok := c.parameters[aws.ToString(in.Name)]
		if !ok {
			return nil, apiError("ParameterNotFound")
		}
		return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String(v)}}, nil
	})
}

func (c *cloud) DescribeInstanceTypes(ctx context.Context, in *ec2.DescribeInstanceTypesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	return serve(ctx, c, "DescribeInstanceTypes", in, func() (*ec2.DescribeInstanceTypesOutput, error) {
		return &ec2.DescribeInstanceTypesOutput{InstanceTypes: c.kinds}, nil
	})
}

func (c *cloud) DescribeInstanceTypeOfferings(ctx context.Context, in *ec2.DescribeInstanceTypeOfferingsInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
	return serve(ctx, c, "DescribeInstanceTypeOfferings", in, func() (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
		out := &ec2.DescribeInstanceTypeOfferingsOutput{}
		for _, z := range c.offered {
			out.InstanceTypeOfferings = append(out.InstanceTypeOfferings, types.InstanceTypeOffering{Location: aws.String(z)})
		}
		return out, nil
	})
}

func (c *cloud) DescribeVpcs(ctx context.Context, in *ec2.DescribeVpcsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	return serve(ctx, c, "DescribeVpcs", in, func() (*ec2.DescribeVpcsOutput, error) {
		out := &ec2.DescribeVpcsOutput{}
		for _, v := range c.vpcs {
			if len(in.VpcIds) > 0 && !slices.Contains(in.VpcIds, aws.ToString(v.VpcId)) {
				continue
			}
			if len(in.Filters) > 0 && aws.ToString(in.Filters[0].Name) == "is-default" && !aws.ToBool(v.IsDefault) {
				continue
			}
			out.Vpcs = append(out.Vpcs, v)
		}
		return out, nil
	})
}

func (c *cloud) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	return serve(ctx, c, "DescribeSubnets", in, func() (*ec2.DescribeSubnetsOutput, error) {
		out := &ec2.DescribeSubnetsOutput{}
		for _, n := range c.subnets {
			fits := len(in.SubnetIds) == 0 || slices.Contains(in.SubnetIds, aws.ToString(n.SubnetId))
			for _, f := range in.Filters {
				v := map[string]*string{"vpc-id": n.VpcId, "subnet-id": n.SubnetId, "availability-zone": n.AvailabilityZone}[aws.ToString(f.Name)]
				fits = fits && (v == nil || slices.Contains(f.Values, *v))
			}
			if fits {
				out.Subnets = append(out.Subnets, n)
			}
		}
		return out, nil
	})
}

func (c *cloud) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	return serve(ctx, c, "DescribeSecurityGroups", in, func() (*ec2.DescribeSecurityGroupsOutput, error) {
		out := &ec2.DescribeSecurityGroupsOutput{}
		for _, g := range c.groups {
			if (len(in.GroupIds) == 0 || slices.Contains(in.GroupIds, aws.ToString(g.GroupId))) && matches(g.Tags, in.Filters) {
				out.SecurityGroups = append(out.SecurityGroups, g)
			}
		}
		return out, nil
	})
}

func (c *cloud) ImportKeyPair(ctx context.Context, in *ec2.ImportKeyPairInput, _ ...func(*ec2.Options)) (*ec2.ImportKeyPairOutput, error) {
	return serve(ctx, c, "ImportKeyPair", in, func() (*ec2.ImportKeyPairOutput, error) {
		if _, taken := c.keys[aws.ToString(in.KeyName)]; taken {
			return nil, apiError("InvalidKeyPair.Duplicate")
		}
		c.keys[aws.ToString(in.KeyName)] = specs(in.TagSpecifications, types.ResourceTypeKeyPair)
		return &ec2.ImportKeyPairOutput{KeyName: in.KeyName}, nil
	})
}

func (c *cloud) DescribeKeyPairs(ctx context.Context, in *ec2.DescribeKeyPairsInput, _ ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error) {
	return serve(ctx, c, "DescribeKeyPairs", in, func() (*ec2.DescribeKeyPairsOutput, error) {
		out := &ec2.DescribeKeyPairsOutput{}
		for name, tags := range c.keys {
			if matches(tags, in.Filters) {
				out.KeyPairs = append(out.KeyPairs, types.KeyPairInfo{KeyName: aws.String(name)})
			}
		}
		return out, nil
	})
}

func (c *cloud) DeleteKeyPair(ctx context.Context, in *ec2.DeleteKeyPairInput, _ ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error) {
	return serve(ctx, c, "DeleteKeyPair", in, func() (*ec2.DeleteKeyPairOutput, error) {
		delete(c.keys, aws.ToString(in.KeyName))
		return &ec2.DeleteKeyPairOutput{}, nil
	})
}

func (c *cloud) CreateSecurityGroup(ctx context.Context, in *ec2.CreateSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error) {
	return serve(ctx, c, "CreateSecurityGroup", in, func() (*ec2.CreateSecurityGroupOutput, error) {
		for _, g := range c.groups {
			if aws.ToString(g.GroupName) == aws.ToString(in.GroupName) {
				return nil, apiError("InvalidGroup.Duplicate")
			}
		}
		id := fmt.Sprintf("sg-%d", len(c.calls))
		c.groups[id] = types.SecurityGroup{GroupId: aws.String(id), GroupName: in.GroupName, VpcId: in.VpcId, Tags: specs(in.TagSpecifications, types.ResourceTypeSecurityGroup)}
		return &ec2.CreateSecurityGroupOutput{GroupId: aws.String(id)}, nil
	})
}

func (c *cloud) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2.AuthorizeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	return serve(ctx, c, "AuthorizeSecurityGroupIngress", in, func() (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
		g, ok := c.groups[aws.ToString(in.GroupId)]
		if !ok {
			return nil, apiError("InvalidGroup.NotFound")
		}
		if len(g.IpPermissions) > 0 {
			return nil, apiError("InvalidPermission.Duplicate")
		}
		g.IpPermissions = in.IpPermissions
		c.groups[aws.ToString(in.GroupId)] = g
		return &ec2.AuthorizeSecurityGroupIngressOutput{}, nil
	})
}

func (c *cloud) DeleteSecurityGroup(ctx context.Context, in *ec2.DeleteSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error) {
	return serve(ctx, c, "DeleteSecurityGroup", in, func() (*ec2.DeleteSecurityGroupOutput, error) {
		if _, ok := c.groups[aws.ToString(in.GroupId)]; !ok {
			return nil, apiError("InvalidGroup.NotFound")
		}
		for _, m := range c.machines {
			if m.State.Name != types.InstanceStateNameTerminated {
				return nil, apiError("DependencyViolation")
			}
		}
		delete(c.groups, aws.ToString(in.GroupId))
		return &ec2.DeleteSecurityGroupOutput{}, nil
	})
}

func (c *cloud) RunInstances(ctx context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	return serve(ctx, c, "RunInstances", in, func() (*ec2.RunInstancesOutput, error) {
		if p := in.IamInstanceProfile; p != nil && len(c.profiles[aws.ToString(p.Name)]) == 0 {
			return nil, &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: "Invalid IAM Instance Profile name"}
		}
		if aws.ToBool(in.DryRun) {
			return nil, apiError("DryRunOperation")
		}
		m := c.start(aws.ToString(in.ClientToken), specs(in.TagSpecifications, types.ResourceTypeInstance), specs(in.TagSpecifications, types.ResourceTypeVolume))
		return &ec2.RunInstancesOutput{Instances: []types.Instance{*m}}, nil
	})
}

// start launches a machine with a volume that outlives it, once per token.
func (c *cloud) start(token string, tags, volumeTags []types.Tag) *types.Instance {
	for _, m := range c.machines {
		if token != "" && aws.ToString(m.ClientToken) == token {
			return m
		}
	}
	id := fmt.Sprintf("i-%d", len(c.calls))
	m := &types.Instance{
		InstanceId: aws.String(id), ClientToken: aws.String(token), Tags: tags, PublicIpAddress: aws.String("192.0.2.9"), PrivateIpAddress: aws.String("10.0.0.9"),
		State: &types.InstanceState{Name: types.InstanceStateNameRunning},
	}
	c.machines[id] = m
	c.volumes["vol-"+id] = types.Volume{VolumeId: aws.String("vol-" + id), Tags: volumeTags, State: types.VolumeStateInUse}
	return m
}

func (c *cloud) CreateFleet(ctx context.Context, in *ec2.CreateFleetInput, _ ...func(*ec2.Options)) (*ec2.CreateFleetOutput, error) {
	return serve(ctx, c, "CreateFleet", in, func() (*ec2.CreateFleetOutput, error) {
		c.fleets["fleet-1"] = true
		if len(c.noSpot) > 0 {
			return &ec2.CreateFleetOutput{FleetId: aws.String("fleet-1"), Errors: c.noSpot}, nil
		}
		data := c.in["CreateLaunchTemplate"].(*ec2.CreateLaunchTemplateInput).LaunchTemplateData
		var list []types.TagSpecification
		for _, s := range data.TagSpecifications {
			list = append(list, types.TagSpecification{ResourceType: s.ResourceType, Tags: s.Tags})
		}
		tags := append(slices.Clone(specs(list, types.ResourceTypeInstance)), types.Tag{Key: aws.String("aws:ec2:fleet-id"), Value: aws.String("fleet-1")})
		m := c.start(aws.ToString(in.ClientToken), tags, specs(list, types.ResourceTypeVolume))
		return &ec2.CreateFleetOutput{FleetId: aws.String("fleet-1"), Instances: []types.CreateFleetInstance{{InstanceIds: []string{*m.InstanceId}}}}, nil
	})
}

func (c *cloud) DeleteFleets(ctx context.Context, in *ec2.DeleteFleetsInput, _ ...func(*ec2.Options)) (*ec2.DeleteFleetsOutput, error) {
	return serve(ctx, c, "DeleteFleets", in, func() (*ec2.DeleteFleetsOutput, error) {
		for _, id := range in.FleetIds {
			delete(c.fleets, id)
		}
		return &ec2.DeleteFleetsOutput{}, nil
	})
}

func (c *cloud) CreateLaunchTemplate(ctx context.Context, in *ec2.CreateLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateOutput, error) {
	return serve(ctx, c, "CreateLaunchTemplate", in, func() (*ec2.CreateLaunchTemplateOutput, error) {
		if len(c.templates) > 0 {
			return nil, apiError("InvalidLaunchTemplateName.AlreadyExistsException")
		}
		t := types.LaunchTemplate{LaunchTemplateId: aws.String("lt-1"), Tags: specs(in.TagSpecifications, types.ResourceTypeLaunchTemplate)}
		c.templates["lt-1"] = t
		return &ec2.CreateLaunchTemplateOutput{LaunchTemplate: &t}, nil
	})
}

func (c *cloud) DescribeLaunchTemplates(ctx context.Context, in *ec2.DescribeLaunchTemplatesInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplatesOutput, error) {
	return serve(ctx, c, "DescribeLaunchTemplates", in, func() (*ec2.DescribeLaunchTemplatesOutput, error) {
		out := &ec2.DescribeLaunchTemplatesOutput{}
		for _, t := range c.templates {
			if matches(t.Tags, in.Filters) {
				out.LaunchTemplates = append(out.LaunchTemplates, t)
			}
		}
		return out, nil
	})
}

func (c *cloud) DeleteLaunchTemplate(ctx context.Context, in *ec2.DeleteLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateOutput, error) {
	return serve(ctx, c, "DeleteLaunchTemplate", in, func() (*ec2.DeleteLaunchTemplateOutput, error) {
		delete(c.templates, aws.ToString(in.LaunchTemplateId))
		return &ec2.DeleteLaunchTemplateOutput{}, nil
	})
}

func (c *cloud) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return serve(ctx, c, "DescribeInstances", in, func() (*ec2.DescribeInstancesOutput, error) {
		out := &ec2.DescribeInstancesOutput{}
		for id, m := range c.machines {
			if len(in.InstanceIds) > 0 && !slices.Contains(in.InstanceIds, id) || !matches(m.Tags, in.Filters) {
				continue
			}
			if m.State.Name == types.InstanceStateNameShuttingDown {
				if c.shutting--; c.shutting <= 0 {
					m.State.Name = types.InstanceStateNameTerminated
				}
			}
			out.Reservations = append(out.Reservations, types.Reservation{Instances: []types.Instance{*m}})
		}
		if len(in.InstanceIds) > 0 && len(out.Reservations) == 0 {
			return nil, apiError("InvalidInstanceID.NotFound")
		}
		return out, nil
	})
}

func (c *cloud) StopInstances(ctx context.Context, in *ec2.StopInstancesInput, _ ...func(*ec2.Options)) (*ec2.StopInstancesOutput, error) {
	return serve(ctx, c, "StopInstances", in, func() (*ec2.StopInstancesOutput, error) {
		c.machines[in.InstanceIds[0]].State = &types.InstanceState{Name: types.InstanceStateNameStopped}
		return &ec2.StopInstancesOutput{}, nil
	})
}

func (c *cloud) TerminateInstances(ctx context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	return serve(ctx, c, "TerminateInstances", in, func() (*ec2.TerminateInstancesOutput, error) {
		m, ok := c.machines[in.InstanceIds[0]]
		if !ok {
			return nil, apiError("InvalidInstanceID.NotFound")
		}
		if m.State.Name != types.InstanceStateNameTerminated && m.State.Name != types.InstanceStateNameShuttingDown {
			m.State = &types.InstanceState{Name: types.InstanceStateNameShuttingDown}
		}
		return &ec2.TerminateInstancesOutput{}, nil
	})
}

func (c *cloud) ModifyInstanceAttribute(ctx context.Context, in *ec2.ModifyInstanceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error) {
	return serve(ctx, c, "ModifyInstanceAttribute", in, func() (*ec2.ModifyInstanceAttributeOutput, error) {
		return &ec2.ModifyInstanceAttributeOutput{}, nil
	})
}

func (c *cloud) DescribeVolumes(ctx context.Context, in *ec2.DescribeVolumesInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error) {
	return serve(ctx, c, "DescribeVolumes", in, func() (*ec2.DescribeVolumesOutput, error) {
		out := &ec2.DescribeVolumesOutput{}
		for _, v := range c.volumes {
			if matches(v.Tags, in.Filters) {
				out.Volumes = append(out.Volumes, v)
			}
		}
		return out, nil
	})
}

func (c *cloud) DeleteVolume(ctx context.Context, in *ec2.DeleteVolumeInput, _ ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error) {
	return serve(ctx, c, "DeleteVolume", in, func() (*ec2.DeleteVolumeOutput, error) {
		id := aws.ToString(in.VolumeId)
		if m := c.machines[strings.TrimPrefix(id, "vol-")]; m != nil && m.State.Name != types.InstanceStateNameTerminated {
			return nil, apiError("VolumeInUse")
		}
		delete(c.volumes, id)
		return &ec2.DeleteVolumeOutput{}, nil
	})
}

func (c *cloud) CreateRole(ctx context.Context, in *iam.CreateRoleInput, _ ...func(*iam.Options)) (*iam.CreateRoleOutput, error) {
	return serve(ctx, c, "CreateRole", in, func() (*iam.CreateRoleOutput, error) {
		if _, ok := c.roles[aws.ToString(in.RoleName)]; ok {
			return nil, apiError("EntityAlreadyExists")
		}
		c.roles[aws.ToString(in.RoleName)] = nil
		return &iam.CreateRoleOutput{}, nil
	})
}

func (c *cloud) GetRole(ctx context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return serve(ctx, c, "GetRole", in, func() (*iam.GetRoleOutput, error) {
		if _, ok := c.roles[aws.ToString(in.RoleName)]; !ok {
			return nil, apiError("NoSuchEntity")
		}
		return &iam.GetRoleOutput{}, nil
	})
}

func (c *cloud) PutRolePolicy(ctx context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	return serve(ctx, c, "PutRolePolicy", in, func() (*iam.PutRolePolicyOutput, error) {
		c.roles[aws.ToString(in.RoleName)] = []string{aws.ToString(in.PolicyDocument)}
		return &iam.PutRolePolicyOutput{}, nil
	})
}

func (c *cloud) DeleteRolePolicy(ctx context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	return serve(ctx, c, "DeleteRolePolicy", in, func() (*iam.DeleteRolePolicyOutput, error) {
		if len(c.roles[aws.ToString(in.RoleName)]) == 0 {
			return nil, apiError("NoSuchEntity")
		}
		c.roles[aws.ToString(in.RoleName)] = nil
		return &iam.DeleteRolePolicyOutput{}, nil
	})
}

func (c *cloud) DeleteRole(ctx context.Context, in *iam.DeleteRoleInput, _ ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	return serve(ctx, c, "DeleteRole", in, func() (*iam.DeleteRoleOutput, error) {
		for _, roles := range c.profiles {
			if slices.Contains(roles, aws.ToString(in.RoleName)) {
				return nil, apiError("DeleteConflict")
			}
		}
		delete(c.roles, aws.ToString(in.RoleName))
		return &iam.DeleteRoleOutput{}, nil
	})
}

func (c *cloud) CreateInstanceProfile(ctx context.Context, in *iam.CreateInstanceProfileInput, _ ...func(*iam.Options)) (*iam.CreateInstanceProfileOutput, error) {
	return serve(ctx, c, "CreateInstanceProfile", in, func() (*iam.CreateInstanceProfileOutput, error) {
		if _, ok := c.profiles[aws.ToString(in.InstanceProfileName)]; ok {
			return nil, apiError("EntityAlreadyExists")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = nil
		return &iam.CreateInstanceProfileOutput{}, nil
	})
}

func (c *cloud) GetInstanceProfile(ctx context.Context, in *iam.GetInstanceProfileInput, _ ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error) {
	return serve(ctx, c, "GetInstanceProfile", in, func() (*iam.GetInstanceProfileOutput, error) {
		roles, ok := c.profiles[aws.ToString(in.InstanceProfileName)]
		if !ok {
			return nil, apiError("NoSuchEntity")
		}
		p := &iamtypes.InstanceProfile{}
		for _, r := range roles {
			p.Roles = append(p.Roles, iamtypes.Role{RoleName: aws.String(r)})
		}
		return &iam.GetInstanceProfileOutput{InstanceProfile: p}, nil
	})
}

func (c *cloud) AddRoleToInstanceProfile(ctx context.Context, in *iam.AddRoleToInstanceProfileInput, _ ...func(*iam.Options)) (*iam.AddRoleToInstanceProfileOutput, error) {
	return serve(ctx, c, "AddRoleToInstanceProfile", in, func() (*iam.AddRoleToInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) > 0 {
			return nil, apiError("LimitExceeded")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = []string{aws.ToString(in.RoleName)}
		return &iam.AddRoleToInstanceProfileOutput{}, nil
	})
}

func (c *cloud) RemoveRoleFromInstanceProfile(ctx context.Context, in *iam.RemoveRoleFromInstanceProfileInput, _ ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	return serve(ctx, c, "RemoveRoleFromInstanceProfile", in, func() (*iam.RemoveRoleFromInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) == 0 {
			return nil, apiError("NoSuchEntity")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = nil
		return &iam.RemoveRoleFromInstanceProfileOutput{}, nil
	})
}

func (c *cloud) DeleteInstanceProfile(ctx context.Context, in *iam.DeleteInstanceProfileInput, _ ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error) {
	return serve(ctx, c, "DeleteInstanceProfile", in, func() (*iam.DeleteInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) > 0 {
			return nil, apiError("DeleteConflict")
		}
		delete(c.profiles, aws.ToString(in.InstanceProfileName))
		return &iam.DeleteInstanceProfileOutput{}, nil
	})
}

// newSite is a site with a clock that takes no time.
func newSite(t *testing.T) *site {
	t.Helper()
	clock := &wait.Fake{}
	return &site{
		region: "us-east-1", build: "b1", created: time.Unix(1700000000, 0), owed: &ledger.Ledger{Clock: clock}, fresh: freshTime,
		waiter:  wait.Waiter{Delay: time.Second, Attempts: 60, Clock: clock},
		explain: func(op, region string, err error) error { return explained(op, region, err) },
		command: func(service, verb string, args ...string) string {
			return strings.Join(append([]string{"aws", service, verb}, args...), " ")
		},
		say: func(format string, args ...any) { t.Logf(format, args...) },
	}
}

func explained(op, region string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s in %s: %w", op, region, err)
}
