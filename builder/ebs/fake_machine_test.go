// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

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
