// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// pages calls more until there is no further page.
func (s *Service) pages(ctx context.Context, more func(token *string) (next *string, err error)) error {
	var token *string
	for {
		_, err := s.patiently(ctx, func() error {
			next, err := more(token)
			if err == nil {
				token = next
			}
			return err
		})
		if err != nil || uid(token) == "" {
			return err
		}
	}
}

func (s *Service) datacenters(ctx context.Context, client *ec2.Client) (list []store.CloudResource, err error) {
	err = s.pages(ctx, func(*string) (*string, error) {
		out, err := client.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{}, awsx.Once)
		if err != nil {
			return nil, err
		}
		for _, z := range out.AvailabilityZones {
			list = append(list, store.CloudResource{ResourceUID: uid(z.ZoneName), Name: uid(z.ZoneName), Attributes: map[string]string{"state": string(z.State)}})
		}
		return nil, nil
	})
	return list, err
}

func (s *Service) instanceTypes(ctx context.Context, client *ec2.Client) (list []store.CloudResource, err error) {
	err = s.pages(ctx, func(token *string) (*string, error) {
		out, err := client.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{NextToken: token}, awsx.Once)
		if err != nil {
			return nil, err
		}
		for _, t := range out.InstanceTypes {
			list = append(list, typeOf(t))
		}
		return out.NextToken, nil
	})
	return list, err
}

func typeOf(t types.InstanceTypeInfo) store.CloudResource {
	attributes := map[string]string{}
	if t.VCpuInfo != nil {
		attributes["cpu_count"] = fmt.Sprint(aws.ToInt32(t.VCpuInfo.DefaultVCpus))
	}
	if t.MemoryInfo != nil {
		attributes["memory"] = fmt.Sprint(aws.ToInt64(t.MemoryInfo.SizeInMiB))
	}
	if t.ProcessorInfo != nil && len(t.ProcessorInfo.SupportedArchitectures) > 0 {
		attributes["cpu_architecture"] = string(t.ProcessorInfo.SupportedArchitectures[0])
	}
	return store.CloudResource{ResourceUID: string(t.InstanceType), Name: string(t.InstanceType), Attributes: attributes}
}

func (s *Service) subnets(ctx context.Context, client *ec2.Client) (list []store.CloudResource, err error) {
	err = s.pages(ctx, func(token *string) (*string, error) {
		out, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{NextToken: token}, awsx.Once)
		if err != nil {
			return nil, err
		}
		for _, n := range out.Subnets {
			list = append(list, store.CloudResource{ResourceUID: uid(n.SubnetId), Name: named(n.Tags, uid(n.SubnetId)), Attributes: map[string]string{
				"vpc_uid": uid(n.VpcId), "cidr_block": uid(n.CidrBlock), "datacenter": uid(n.AvailabilityZone)}})
		}
		return out.NextToken, nil
	})
	return list, err
}

func (s *Service) groups(ctx context.Context, client *ec2.Client) (list []store.CloudResource, err error) {
	err = s.pages(ctx, func(token *string) (*string, error) {
		out, err := client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{NextToken: token}, awsx.Once)
		if err != nil {
			return nil, err
		}
		for _, g := range out.SecurityGroups {
			list = append(list, store.CloudResource{ResourceUID: uid(g.GroupId), Name: uid(g.GroupName), Attributes: map[string]string{
				"vpc_uid": uid(g.VpcId), "description": uid(g.Description)}})
		}
		return out.NextToken, nil
	})
	return list, err
}

func (s *Service) sshKeys(ctx context.Context, client *ec2.Client) (list []store.CloudResource, err error) {
	err = s.pages(ctx, func(*string) (*string, error) {
		out, err := client.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{}, awsx.Once)
		if err != nil {
			return nil, err
		}
		for _, k := range out.KeyPairs {
			list = append(list, store.CloudResource{ResourceUID: uid(k.KeyName), Name: uid(k.KeyName), Attributes: map[string]string{"fingerprint": uid(k.KeyFingerprint)}})
		}
		return nil, nil
	})
	return list, err
}

// named is the Name tag, or else the id.
func named(tags []types.Tag, id string) string {
	for _, t := range tags {
		if uid(t.Key) == "Name" && uid(t.Value) != "" {
			return uid(t.Value)
		}
	}
	return id
}
