// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

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
