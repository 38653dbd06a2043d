// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// noRoom is EC2's code for a zone without a free machine of a type.
const noRoom = "InsufficientInstanceCapacity"

// launch starts the machine on demand and returns its id at once. When a zone
// has no room, the next subnet is tried.
func (s *site) launch(ctx context.Context, api control, m machine) (string, error) {
	s.oweVolumes(api)
	var errs []error
	for i, n := range m.place.subnets {
		in := m.request(i)
		in.ClientToken = aws.String(fmt.Sprintf("%s-%d", m.token, i))
		id, err := s.make(ctx, s.instanceThing(api), func(ctx context.Context) (string, error) {
			var out *ec2.RunInstancesOutput
			err := s.patiently(ctx, "what the machine needs to be known", func(ctx context.Context) (err error) {
				out, err = api.RunInstances(ctx, in, elsewhere)
				return err
			})
			if err != nil {
				return "", err
			}
			if len(out.Instances) == 0 {
				return "", errors.New("EC2 launched nothing and says no reason")
			}
			return aws.ToString(out.Instances[0].InstanceId), nil
		})
		if err == nil {
			return id, nil
		}
		errs = append(errs, err)
		if code := errorCode(err); ctx.Err() != nil || code != noRoom && code != "Unsupported" {
			break
		}
		s.say("%s has no room for a %s", aws.ToString(n.AvailabilityZone), m.types[0])
	}
	return "", errors.Join(errs...)
}

// elsewhere is an option for a launch: when there is no room, another zone is a
// better answer than the same question again.
func elsewhere(o *ec2.Options) { o.Retryer = roomRetryer{o.Retryer} }

type roomRetryer struct{ aws.Retryer }

func (r roomRetryer) IsErrorRetryable(err error) bool {
	return errorCode(err) != noRoom && r.Retryer.IsErrorRetryable(err)
}

// instanceThing is the undo of a launch: it is over when the machine is
// terminated, since groups and volumes are in use until then.
func (s *site) instanceThing(api instances) thing {
	return thing{
		kind: "instance",
		find: s.command("ec2", "describe-instances", "--filters", s.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			found, err := describe(ctx, api, &ec2.DescribeInstancesInput{Filters: s.mine()})
			var ids []string
			for _, i := range found {
				ids = append(ids, aws.ToString(i.InstanceId))
			}
			return ids, err
		},
		remove: func(ctx context.Context, id string) error { return terminate(ctx, api, id) },
		remedy: func(id string) string { return s.command("ec2", "terminate-instances", "--instance-ids", id) },
	}
}

// terminate ends a machine and reports nil only when it is over.
func terminate(ctx context.Context, api instances, id string) error {
	if _, err := api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}, awsx.Once); err != nil {
		return err
	}
	found, err := describe(ctx, api, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return err
	}
	for _, i := range found {
		if stateOf(i) != types.InstanceStateNameTerminated {
			return busy(errors.New("it is still shutting down"))
		}
	}
	return nil
}

func describe(ctx context.Context, api instances, in *ec2.DescribeInstancesInput) ([]types.Instance, error) {
	out, err := api.DescribeInstances(ctx, in)
	if err != nil {
		return nil, err
	}
	var found []types.Instance
	for _, r := range out.Reservations {
		found = append(found, r.Instances...)
	}
	return found, nil
}

func stateOf(i types.Instance) types.InstanceStateName {
	if i.State == nil {
		return ""
	}
	return i.State.Name
}

// await waits until the machine is in a state, and tells why it never will be.
func (s *site) await(ctx context.Context, api instances, id string, want types.InstanceStateName) (types.Instance, error) {
	var last types.Instance
	began := s.now()
	err := s.waiter.Until(ctx, fmt.Sprintf("instance %s to be %s (aws_polling sets how long)", id, want), func(ctx context.Context) (bool, error) {
		i, err := instance(ctx, api, id)
		switch {
		case err != nil && awsx.Class(err) == awsx.NotYet && s.now().Sub(began) < knownTime:
			return false, nil
		case err != nil:
			return false, s.fail("describe instance "+id, err)
		}
		last = i
		return stateOf(i) == want, ended(i, want)
	})
	return last, err
}

// instance describes one machine.
func instance(ctx context.Context, api instances, id string) (types.Instance, error) {
	found, err := describe(ctx, api, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return types.Instance{}, err
	}
	if len(found) == 0 {
		return types.Instance{}, fmt.Errorf("instance %s is not in the list", id)
	}
	return found[0], nil
}

// ended is an error when the machine can no longer get into a state.
func ended(i types.Instance, want types.InstanceStateName) error {
	state := stateOf(i)
	over := state == types.InstanceStateNameTerminated || state == types.InstanceStateNameShuttingDown
	if want == types.InstanceStateNameRunning {
		over = over || state == types.InstanceStateNameStopping || state == types.InstanceStateNameStopped
	}
	if !over || state == want {
		return nil
	}
	why := aws.ToString(i.StateTransitionReason)
	if i.StateReason != nil && aws.ToString(i.StateReason.Message) != "" {
		why = aws.ToString(i.StateReason.Message)
	}
	if strings.TrimSpace(why) == "" {
		why = "EC2 gives no reason"
	}
	return fmt.Errorf("instance %s is %s: %s", aws.ToString(i.InstanceId), state, why)
}

// note remembers the volumes that do not go with the machine, so that they can
// be named when they are left.
func (s *site) note(i types.Instance) {
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && !aws.ToBool(d.Ebs.DeleteOnTermination) {
			s.survivors = append(s.survivors, aws.ToString(d.Ebs.VolumeId))
		}
	}
}

// oweVolumes records that volumes of the machine may survive it. They are
// tagged at birth, so that their ids need not be known.
func (s *site) oweVolumes(api volumes) {
	s.owed.Owe("volumes of the build machine that outlive it in "+s.region,
		s.command("ec2", "describe-volumes", "--filters", s.mineText()), func(ctx context.Context) error {
			out, err := api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: s.mine()}, awsx.Once)
			if err != nil && len(s.survivors) > 0 {
				err = fmt.Errorf("%s: %w", strings.Join(s.survivors, ", "), err)
			}
			if err != nil {
				return verdict(err)
			}
			var errs []error
			for _, v := range out.Volumes {
				if v.State == types.VolumeStateDeleting || v.State == types.VolumeStateDeleted {
					continue
				}
				_, err := api.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: v.VolumeId}, awsx.Once)
				if err != nil && awsx.Class(err) != awsx.NotYet {
					errs = append(errs, fmt.Errorf("volume %s: %w", aws.ToString(v.VolumeId), err))
				}
			}
			if slices.ContainsFunc(errs, mendable) {
				return errors.Join(errs...)
			}
			return ledger.Permanent(errors.Join(errs...))
		})
}
