// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"encoding/base64"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

// machine is the build machine that is wanted. It is the one place that both
// ways to launch, on demand and through a fleet, are filled from.
type machine struct {
	image    string
	types    []string
	place    place
	groups   []string
	keyName  string
	profile  string
	userData []byte
	devices  []publish.BlockDevice
	instance types.TagSpecification
	volume   types.TagSpecification
	iface    types.TagSpecification
	token    string
	maxPrice string
	strategy types.SpotAllocationStrategy
}

// request is the launch on demand, in one of the subnets.
func (m machine) request(subnet int) *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(m.image), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		InstanceType:                      types.InstanceType(m.types[0]),
		KeyName:                           text(m.keyName),
		UserData:                          m.encodedUserData(),
		BlockDeviceMappings:               mappings(m.devices),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorStop,
		TagSpecifications:                 []types.TagSpecification{m.instance, m.volume, m.iface},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpTokens: types.HttpTokensStateRequired,
		},
		ClientToken: text(m.token),
	}
	if m.profile != "" {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String(m.profile)}
	}
	id := m.place.subnets[subnet].SubnetId
	if m.place.publicIP == nil {
		in.SubnetId, in.SecurityGroupIds = id, m.groups
		return in
	}
	in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{
		DeviceIndex: aws.Int32(0), SubnetId: id, Groups: m.groups,
		AssociatePublicIpAddress: m.place.publicIP, DeleteOnTermination: aws.Bool(true),
	}}
	return in
}

// template is the same machine as a launch template. Subnet and type are left
// to the fleet.
func (m machine) template() *types.RequestLaunchTemplateData {
	run := m.request(0)
	data := &types.RequestLaunchTemplateData{
		ImageId: run.ImageId, KeyName: run.KeyName, UserData: run.UserData,
		InstanceInitiatedShutdownBehavior: run.InstanceInitiatedShutdownBehavior,
		MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{
			HttpEndpoint: types.LaunchTemplateInstanceMetadataEndpointState(run.MetadataOptions.HttpEndpoint),
			HttpTokens:   types.LaunchTemplateHttpTokensState(run.MetadataOptions.HttpTokens),
		},
		SecurityGroupIds: run.SecurityGroupIds,
	}
	if run.IamInstanceProfile != nil {
		data.IamInstanceProfile = &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: run.IamInstanceProfile.Name}
	}
	for _, n := range run.NetworkInterfaces {
		data.NetworkInterfaces = append(data.NetworkInterfaces, types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
			DeviceIndex: n.DeviceIndex, Groups: n.Groups, AssociatePublicIpAddress: n.AssociatePublicIpAddress, DeleteOnTermination: n.DeleteOnTermination,
		})
	}
	for _, d := range run.BlockDeviceMappings {
		data.BlockDeviceMappings = append(data.BlockDeviceMappings, templateMapping(d))
	}
	for _, t := range run.TagSpecifications {
		data.TagSpecifications = append(data.TagSpecifications, types.LaunchTemplateTagSpecificationRequest{ResourceType: t.ResourceType, Tags: t.Tags})
	}
	return data
}

func templateMapping(d types.BlockDeviceMapping) types.LaunchTemplateBlockDeviceMappingRequest {
	out := types.LaunchTemplateBlockDeviceMappingRequest{DeviceName: d.DeviceName, NoDevice: d.NoDevice, VirtualName: d.VirtualName}
	if e := d.Ebs; e != nil {
		out.Ebs = &types.LaunchTemplateEbsBlockDeviceRequest{
			DeleteOnTermination: e.DeleteOnTermination, Encrypted: e.Encrypted, Iops: e.Iops, KmsKeyId: e.KmsKeyId,
			SnapshotId: e.SnapshotId, Throughput: e.Throughput, VolumeSize: e.VolumeSize, VolumeType: e.VolumeType,
		}
	}
	return out
}

// fleet asks for one spot machine of any of the types in any of the subnets.
func (m machine) fleet(template string, tags types.TagSpecification) *ec2.CreateFleetInput {
	var overrides []types.FleetLaunchTemplateOverridesRequest
	priority := 0.0
	for _, kind := range m.types {
		for _, n := range m.place.subnets {
			o := types.FleetLaunchTemplateOverridesRequest{InstanceType: types.InstanceType(kind), SubnetId: n.SubnetId, MaxPrice: text(m.maxPrice)}
			if m.strategy == types.SpotAllocationStrategyCapacityOptimizedPrioritized {
				o.Priority = aws.Float64(priority)
			}
			overrides = append(overrides, o)
		}
		priority++
	}
	return &ec2.CreateFleetInput{
		Type:        types.FleetTypeInstant,
		ClientToken: text(m.token),
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateId: aws.String(template), Version: aws.String("1")},
			Overrides:                   overrides,
		}},
		TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{
			TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: types.DefaultTargetCapacityTypeSpot,
		},
		SpotOptions:       &types.SpotOptionsRequest{AllocationStrategy: m.strategy},
		TagSpecifications: []types.TagSpecification{tags},
	}
}

// encodedUserData is always encoded by us. A text that happens to be base64
// already is no exception: nobody could tell.
func (m machine) encodedUserData() *string {
	if len(m.userData) == 0 {
		return nil
	}
	return aws.String(base64.StdEncoding.EncodeToString(m.userData))
}

// mappings turns the template's devices into those of a launch.
func mappings(devices []publish.BlockDevice) []types.BlockDeviceMapping {
	var out []types.BlockDeviceMapping
	for _, d := range devices {
		m := types.BlockDeviceMapping{DeviceName: aws.String(d.DeviceName)}
		switch {
		case d.NoDevice:
			m.NoDevice = aws.String("")
		case d.VirtualName != "":
			m.VirtualName = aws.String(d.VirtualName)
		default:
			m.Ebs = &types.EbsBlockDevice{
				SnapshotId: text(d.SnapshotID), VolumeType: types.VolumeType(d.VolumeType), Iops: number(d.IOPS), Throughput: number(d.Throughput),
				VolumeSize: number(d.VolumeSize), Encrypted: d.Encrypted.ToBoolPointer(), KmsKeyId: text(d.KmsKeyID),
				DeleteOnTermination: aws.Bool(!d.DeleteOnTermination.False()),
			}
		}
		out = append(out, m)
	}
	return out
}

// rootDevice adds the wanted root volume to the devices of a launch: the image
// gets its size and type from the machine. An entry for it wins.
func rootDevice(c publish.Config, image types.Image, devices []publish.BlockDevice) []publish.BlockDevice {
	name := aws.ToString(image.RootDeviceName)
	for _, d := range devices {
		if d.DeviceName == name {
			return devices
		}
	}
	root := publish.BlockDevice{
		DeviceName: name, VolumeSize: c.VolumeSize, VolumeType: c.VolumeType, IOPS: c.VolumeIOPS, Throughput: c.VolumeThroughput,
	}
	return append([]publish.BlockDevice{root}, devices...)
}

// text and number leave out what is not set.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

func number(n int64) *int32 {
	if n == 0 {
		return nil
	}
	return aws.Int32(int32(n)) // Prepare holds it to what EBS takes
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
