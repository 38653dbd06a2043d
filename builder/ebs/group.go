// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// makeGroup makes a security group of the VPC that lets the given CIDR blocks
// reach a TCP port, and nobody else anything. It must go after the machine.
func (s *site) makeGroup(ctx context.Context, api securityGroups, vpc string, port int, cidrs []string) (string, error) {
	id, err := s.make(ctx, s.groupThing(api), func(ctx context.Context) (string, error) {
		out, err := api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(s.name()), Description: aws.String("Temporary group of an image build"), VpcId: aws.String(vpc),
			TagSpecifications: []types.TagSpecification{s.tagged(types.ResourceTypeSecurityGroup, nil)},
		})
		if err == nil {
			return aws.ToString(out.GroupId), nil
		}
		if awsx.Class(err) == awsx.Conflict { // the name has our id in it: an earlier try of this call
			if ids, lookErr := s.myGroups(ctx, api); lookErr == nil && len(ids) == 1 {
				return ids[0], nil
			}
		}
		return "", err
	})
	if err != nil || len(cidrs) == 0 {
		return id, err
	}
	err = s.patiently(ctx, "security group "+id+" to be known", func(ctx context.Context) error {
		_, err := api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: aws.String(id), IpPermissions: []types.IpPermission{ingress(port, cidrs)},
		})
		if awsx.Class(err) == awsx.Conflict {
			return nil // an earlier try of this call
		}
		return err
	})
	if err != nil {
		return "", s.fail("open security group "+id+" to "+strings.Join(cidrs, ", "), err)
	}
	return id, nil
}

// ingress lets blocks of either kind of address in.
func ingress(port int, cidrs []string) types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(port)), ToPort: aws.Int32(int32(port))}
	for _, c := range cidrs {
		if strings.Contains(c, ":") {
			p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: aws.String(c), Description: aws.String("image build")})
		} else {
			p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(c), Description: aws.String("image build")})
		}
	}
	return p
}

func (s *site) groupThing(api securityGroups) thing {
	return thing{
		kind:   "security group",
		find:   s.command("ec2", "describe-security-groups", "--filters", s.mineText()),
		lookup: func(ctx context.Context) ([]string, error) { return s.myGroups(ctx, api) },
		remove: func(ctx context.Context, id string) error {
			// While the machine is shutting down this is a DependencyViolation: the
			// ledger comes back to it.
			_, err := api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)}, awsx.Once)
			return err
		},
		remedy: func(id string) string { return s.command("ec2", "delete-security-group", "--group-id", id) },
	}
}

func (s *site) myGroups(ctx context.Context, api securityGroups) ([]string, error) {
	out, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: s.mine()}, awsx.Once)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, g := range out.SecurityGroups {
		ids = append(ids, aws.ToString(g.GroupId))
	}
	return ids, nil
}
