// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// byClientToken finds the machine of a launch, nil when there is none (yet).
func byClientToken(ctx context.Context, client *ec2.Client, token string) (*types.Instance, error) {
	out, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{
		Filters: []types.Filter{{Name: aws.String("client-token"), Values: []string{token}}}}, awsx.Once)
	if err != nil {
		return nil, err
	}
	for _, r := range out.Reservations {
		for i := range r.Instances {
			return &r.Instances[i], nil
		}
	}
	return nil, nil
}

// byID finds a machine, nil when the cloud does not know it (yet).
func byID(ctx context.Context, client *ec2.Client, id string) (*types.Instance, error) {
	out, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, awsx.Once)
	if err != nil {
		if meaning(err) == absent {
			return nil, nil
		}
		return nil, err
	}
	for _, r := range out.Reservations {
		for i := range r.Instances {
			return &r.Instances[i], nil
		}
	}
	return nil, nil
}

// stateOf is the cloud's state of a machine.
func stateOf(i types.Instance) string {
	if i.State == nil {
		return ""
	}
	return string(i.State.Name)
}

// over tells whether a machine can never run again.
func over(state string) bool { return state == "terminated" || state == "shutting-down" }

// see writes what the cloud says of a machine that is looked at.
func (s *Service) see(ctx context.Context, q *store.Queries, instance int64, machine types.Instance) error {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return err
	}
	seen := Describe(machine)
	seen.ID, seen.SeenCloudID, seen.LaunchedAt = inst.ID, inst.SeenCloudID, inst.LaunchedAt
	if seen.Name == "" {
		seen.Name = inst.Name
	}
	return q.SeeInstance(ctx, seen, s.now())
}

// Describe is what the cloud says of a machine in our terms.
func Describe(m types.Instance) store.Instance {
	i := store.Instance{ResourceUID: aws.ToString(m.InstanceId), CloudState: stateOf(m), ImageUID: aws.ToString(m.ImageId), InstanceType: string(m.InstanceType),
		ClientToken: aws.ToString(m.ClientToken), LaunchedAt: aws.ToTime(m.LaunchTime).UTC(), Cloud: "ec2"}
	if m.Placement != nil {
		i.Datacenter = aws.ToString(m.Placement.AvailabilityZone)
	}
	add := func(list []string, address *string) []string {
		if ip := aws.ToString(address); ip != "" && !slices.Contains(list, ip) {
			list = append(list, ip)
		}
		return list
	}
	i.PublicIPs, i.PrivateIPs = add(nil, m.PublicIpAddress), add(nil, m.PrivateIpAddress)
	for _, card := range m.NetworkInterfaces {
		for _, a := range card.PrivateIpAddresses {
			i.PrivateIPs = add(i.PrivateIPs, a.PrivateIpAddress)
			if a.Association != nil {
				i.PublicIPs = add(i.PublicIPs, a.Association.PublicIp)
			}
		}
	}
	for _, tag := range m.Tags {
		if aws.ToString(tag.Key) == "Name" {
			i.Name = aws.ToString(tag.Value)
		}
	}
	return i
}

// look asks the cloud for a machine; nil when it does not know it. After an
// error, later is when to look again.
func (s *Service) look(ctx context.Context, j *store.MachineJob, inst store.Instance) (machine *types.Instance, later verdict, err error) {
	client, err := s.dial(ctx, j)
	if err != nil {
		return nil, verdict{after: s.pace(backoff(j.Attempts, err)), problem: failure("find credentials", err)}, err
	}
	if machine, err = byID(ctx, client, inst.ResourceUID); err != nil {
		later = verdict{after: s.pace(backoff(j.Attempts, err)), problem: failure("DescribeInstances", err)}
	}
	return machine, later, err
}
