// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// Types of machines that are small, cheap and everywhere.
const (
	typeX86   = "t3.small"
	typeArm   = "t4g.small"
	typeNoENA = "t2.small"
)

// instanceType is the type of the machine: small, and one that takes the image.
func (t *Test) instanceType() string {
	switch {
	case t.InstanceType != "":
		return t.InstanceType
	case t.Image.Architecture == types.ArchitectureValuesArm64:
		return typeArm
	case !aws.ToBool(t.Image.EnaSupport):
		return typeNoENA
	default:
		return typeX86
	}
}

// launch starts the machine.
func (t *Test) launch(ctx context.Context) error {
	t.Say("%s: boot test: launching %s on a %s", t.Region, aws.ToString(t.Image.ImageId), t.instanceType())
	what := thing{
		kind: "instance",
		find: t.Command("describe-instances", "--filters", t.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			found, err := t.describe(ctx, &ec2.DescribeInstancesInput{Filters: t.mine()}, awsx.Once)
			var ids []string
			for _, i := range found {
				ids = append(ids, aws.ToString(i.InstanceId))
			}
			return ids, err
		},
		remove: t.terminate,
		remedy: func(id string) string { return t.Command("terminate-instances", "--instance-ids", id) },
	}
	id, err := t.make(ctx, what, func(ctx context.Context) (string, error) {
		var out *ec2.RunInstancesOutput
		err := t.patiently(ctx, func(ctx context.Context) (err error) {
			out, err = t.EC2.RunInstances(ctx, t.request())
			return err
		})
		if err == nil && len(out.Instances) == 0 {
			err = errors.New("EC2 launched nothing and says no reason")
		}
		if err != nil {
			return "", err
		}
		return aws.ToString(out.Instances[0].InstanceId), nil
	})
	t.instance = id
	return err
}

// request is the machine as anybody would launch it, but that its root volume is
// a GiB larger, to see it grow, and that all volumes go with it.
func (t *Test) request() *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{
		ImageId: t.Image.ImageId, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceType(t.instanceType()),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		SecurityGroupIds:                  t.groups,
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpTokens: types.HttpTokensStateRequired,
		},
		TagSpecifications: []types.TagSpecification{
			t.tagged(types.ResourceTypeInstance), t.tagged(types.ResourceTypeVolume), t.tagged(types.ResourceTypeNetworkInterface),
		},
		ClientToken: aws.String(t.name()),
	}
	if t.key != nil {
		in.KeyName = aws.String(t.key.name)
	}
	if t.SubnetID != "" {
		in.SubnetId = aws.String(t.SubnetID)
	}
	if public := t.AssociatePublicIP.ToBoolPointer(); public != nil {
		in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: in.SubnetId, Groups: t.groups, AssociatePublicIpAddress: public, DeleteOnTermination: aws.Bool(true),
		}}
		in.SubnetId, in.SecurityGroupIds = nil, nil
	}
	if t.UserData != "" {
		in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(t.UserData)))
	}
	for _, d := range t.Image.BlockDeviceMappings {
		if d.Ebs == nil {
			continue
		}
		over := &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true)}
		if aws.ToString(d.DeviceName) == aws.ToString(t.Image.RootDeviceName) && d.Ebs.VolumeSize != nil {
			over.VolumeSize = aws.Int32(*d.Ebs.VolumeSize + 1)
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: d.DeviceName, Ebs: over})
	}
	return in
}

// awaitRunning waits until EC2 runs the machine.
func (t *Test) awaitRunning(ctx context.Context) error {
	err := t.waiter().Until(ctx, "instance "+t.instance+" to run", func(ctx context.Context) (bool, error) {
		i, err := t.machine(ctx)
		return err == nil && state(i) == types.InstanceStateNameRunning, err
	})
	if late(ctx) {
		return &unfit{"live-boot", fmt.Sprintf("instance %s did not run within %s", t.instance, t.Timeout)}
	}
	return err
}

// machine describes the machine; it is an error when it has ended.
func (t *Test) machine(ctx context.Context) (types.Instance, error) {
	var found []types.Instance
	err := t.patiently(ctx, func(ctx context.Context) (err error) {
		found, err = t.describe(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{t.instance}})
		return err
	})
	switch {
	case err != nil:
		return types.Instance{}, t.fail("describe instance "+t.instance, err)
	case len(found) == 0:
		return types.Instance{}, fmt.Errorf("instance %s is not in the list", t.instance)
	}
	i := found[0]
	if s := state(i); s != types.InstanceStateNamePending && s != types.InstanceStateNameRunning {
		why := aws.ToString(i.StateTransitionReason)
		if i.StateReason != nil && aws.ToString(i.StateReason.Message) != "" {
			why = aws.ToString(i.StateReason.Message)
		}
		if why == "" {
			why = "EC2 gives no reason"
		}
		return i, &unfit{"live-boot", fmt.Sprintf("instance %s is %s: %s", t.instance, s, why)}
	}
	return i, nil
}

func (t *Test) describe(ctx context.Context, in *ec2.DescribeInstancesInput, options ...func(*ec2.Options)) ([]types.Instance, error) {
	out, err := t.EC2.DescribeInstances(ctx, in, options...)
	if err != nil {
		return nil, err
	}
	var found []types.Instance
	for _, r := range out.Reservations {
		found = append(found, r.Instances...)
	}
	return found, nil
}

// terminate ends a machine and reports nil only when it is over: its group and
// its snapshot are in use until then. Once EC2 has agreed, it is only asked whether
// it is.
func (t *Test) terminate(ctx context.Context, id string) error {
	if !slices.Contains(t.ending, id) {
		if _, err := t.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}, awsx.Once); err != nil {
			return err
		}
		t.ending = append(t.ending, id)
	}
	found, err := t.describe(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, awsx.Once)
	if err != nil { // it is on its way out all the same
		return fmt.Errorf("%w, as far as can be told: %w", errBusy, err)
	}
	if slices.ContainsFunc(found, func(i types.Instance) bool { return state(i) != types.InstanceStateNameTerminated }) {
		return errBusy
	}
	return nil
}

func state(i types.Instance) types.InstanceStateName {
	if i.State == nil {
		return ""
	}
	return i.State.Name
}

// late reports whether the test's own time is over.
func late(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errLate) }

// console is what the machine has printed so far. Nitro machines tell the newest
// state when they are asked for it; others know only what was kept last.
func (t *Test) console(ctx context.Context) (string, error) {
	in := &ec2.GetConsoleOutputInput{InstanceId: aws.String(t.instance), Latest: aws.Bool(true)}
	out, err := t.EC2.GetConsoleOutput(ctx, in)
	if err != nil && strings.Contains(err.Error(), "UnsupportedOperation") {
		in.Latest = nil
		out, err = t.EC2.GetConsoleOutput(ctx, in)
	}
	if err != nil {
		return "", t.fail("read the console of "+t.instance, err)
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	return strings.ToValidUTF8(string(text), "?"), err
}
