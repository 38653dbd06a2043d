// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

func (p *place) fleets(ctx context.Context) ([]*Leftover, error) {
	var ids []string
	pages := ec2.NewDescribeTagsPaginator(p.api, &ec2.DescribeTagsInput{Filters: []types.Filter{
		{Name: aws.String("key"), Values: []string{tagTemporary}},
		{Name: aws.String("resource-type"), Values: []string{string(types.ResourceTypeFleet)}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, awsx.Quick) // the first call in a region
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tags {
			ids = append(ids, aws.ToString(t.ResourceId))
		}
	}
	var out []*Leftover
	for _, id := range ids { // one by one: an id that is gone already spoils a whole request
		page, err := p.api.DescribeFleets(ctx, &ec2.DescribeFleetsInput{FleetIds: []string{id}})
		if awsx.Class(err) == awsx.NotYet {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range page.Fleets {
			if !deletedFleet(f.FleetState) {
				out = append(out, p.fleet(f))
			}
		}
	}
	return out, nil
}

func deletedFleet(s types.FleetStateCode) bool {
	return s == types.FleetStateCodeDeleted || s == types.FleetStateCodeDeletedRunning || s == types.FleetStateCodeDeletedTerminatingInstances
}

func (p *place) fleet(f types.FleetData) *Leftover {
	id := aws.ToString(f.FleetId)
	l := p.leftover("fleet", id, tagMap(f.Tags), f.CreateTime, "delete-fleets", "--terminate-instances", "--fleet-ids", id)
	l.Action = "delete with its instances"
	l.remove = func(ctx context.Context) error {
		out, err := p.api.DeleteFleets(ctx, &ec2.DeleteFleetsInput{FleetIds: []string{id}, TerminateInstances: aws.Bool(true)}, awsx.Once)
		if err != nil {
			return err
		}
		for _, bad := range out.UnsuccessfulFleetDeletions {
			if bad.Error != nil && bad.Error.Code != types.DeleteFleetErrorCodeFleetIdDoesNotExist {
				return fmt.Errorf("%s: %s", bad.Error.Code, aws.ToString(bad.Error.Message))
			}
		}
		return nil
	}
	return l
}

func (p *place) instances(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := ec2.NewDescribeInstancesPaginator(p.api, &ec2.DescribeInstancesInput{Filters: []types.Filter{
		withTag(tagTemporary),
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				out = append(out, p.instance(i))
			}
		}
	}
	return out, nil
}

func (p *place) instance(i types.Instance) *Leftover {
	id := aws.ToString(i.InstanceId)
	l := p.leftover("instance", id, tagMap(i.Tags), i.LaunchTime, "terminate-instances", "--instance-ids", id)
	l.Action = "terminate"
	p.remember(l)
	l.remove = func(ctx context.Context) error {
		if _, err := p.api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}, awsx.Once); err != nil {
			return err
		}
		// What it holds can only go when it is gone.
		out, err := p.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			return err
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				if i.State != nil && i.State.Name != types.InstanceStateNameTerminated {
					return fmt.Errorf("%w: %s", errStillThere, i.State.Name)
				}
			}
		}
		return nil
	}
	return l
}

func (p *place) launchTemplates(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := ec2.NewDescribeLaunchTemplatesPaginator(p.api, &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{withTag(tagTemporary)}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.LaunchTemplates {
			id := aws.ToString(t.LaunchTemplateId)
			l := p.leftover("launch template", id, tagMap(t.Tags), t.CreateTime, "delete-launch-template", "--launch-template-id", id)
			l.remove = func(ctx context.Context) error {
				_, err := p.api.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: aws.String(id)}, awsx.Once)
				return err
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// volumes leaves out what goes together with its instance, and what is attached
// to an instance that stays.
func (p *place) volumes(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := ec2.NewDescribeVolumesPaginator(p.api, &ec2.DescribeVolumesInput{Filters: []types.Filter{withTag(tagTemporary)}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Volumes {
			if p.heldByInstance(v) {
				continue
			}
			id := aws.ToString(v.VolumeId)
			l := p.leftover("volume", id, tagMap(v.Tags), v.CreateTime, "delete-volume", "--volume-id", id)
			l.remove = func(ctx context.Context) error {
				_, err := p.api.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(id)}, awsx.Once)
				return err
			}
			out = append(out, l)
		}
	}
	return out, nil
}

func (p *place) heldByInstance(v types.Volume) bool {
	for _, a := range v.Attachments {
		if aws.ToBool(a.DeleteOnTermination) || !p.ending[aws.ToString(a.InstanceId)] {
			return true
		}
	}
	return false
}

func (p *place) securityGroups(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := ec2.NewDescribeSecurityGroupsPaginator(p.api, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{withTag(tagTemporary)}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.SecurityGroups {
			id := aws.ToString(g.GroupId)
			l := p.leftover("security group", id, tagMap(g.Tags), nil, "delete-security-group", "--group-id", id)
			l.remove = func(ctx context.Context) error {
				_, err := p.api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)}, awsx.Once)
				return err
			}
			out = append(out, l)
		}
	}
	return out, nil
}

func (p *place) keyPairs(ctx context.Context) ([]*Leftover, error) {
	page, err := p.api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{withTag(tagTemporary)}})
	if err != nil {
		return nil, err
	}
	var out []*Leftover
	for _, k := range page.KeyPairs {
		name := aws.ToString(k.KeyName)
		l := p.leftover("key pair", name, tagMap(k.Tags), k.CreateTime, "delete-key-pair", "--key-name", name)
		l.remove = func(ctx context.Context) error {
			_, err := p.api.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)}, awsx.Once)
			return err
		}
		out = append(out, l)
	}
	return out, nil
}
