// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"encoding/base64"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/machine"
)

func templateOf(ami string) *ec2.CreateLaunchTemplateInput {
	return &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("build"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			ImageId: &ami, InstanceType: ec2types.InstanceTypeT3Micro, UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("hello"))),
			NetworkInterfaces:     []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{DeviceIndex: aws.Int32(0), AssociatePublicIpAddress: aws.Bool(false)}},
			InstanceMarketOptions: &ec2types.LaunchTemplateInstanceMarketOptionsRequest{MarketType: "spot", SpotOptions: &ec2types.LaunchTemplateSpotMarketOptionsRequest{MaxPrice: aws.String("0.1")}},
			TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{
				{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("of"), Value: aws.String("template")}}},
				{ResourceType: "spot-instances-request", Tags: []ec2types.Tag{{Key: aws.String("of"), Value: aws.String("request")}}},
			},
			BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/sdf"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(1)}}},
		},
	}
}

func TestSpotFleet(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("spot")
	_, err := c.ec2.CreateLaunchTemplate(t.Context(), templateOf(ami))
	require.NoError(t, err)
	_, err = c.ec2.CreateLaunchTemplate(t.Context(), templateOf(ami))
	require.Equal(t, "InvalidLaunchTemplateName.AlreadyExistsException", codeOf(t, err))
	fleet := &ec2.CreateFleetInput{
		Type: "instant", TargetCapacitySpecification: &ec2types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: "spot"},
		LaunchTemplateConfigs: []ec2types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &ec2types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String("build"), Version: aws.String("$Latest")},
			Overrides: []ec2types.FleetLaunchTemplateOverridesRequest{
				{InstanceType: "t4g.micro"}, {InstanceType: "m5.large", SubnetId: c.subnets()[2].SubnetId}, {InstanceType: "c5.large"},
			},
		}},
		TagSpecifications: append(specOf("fleet", "of", "fleet"), specOf("instance", "by", "fleet")...),
	}
	out, err := c.ec2.CreateFleet(t.Context(), fleet)
	require.NoError(t, err)
	require.Len(t, out.Errors, 1, "arm64 cannot run the image")
	require.Equal(t, "InvalidParameterValue", *out.Errors[0].ErrorCode)
	require.Equal(t, ec2types.InstanceTypeM5Large, out.Instances[0].InstanceType)
	inst := c.reaches(out.Instances[0].InstanceIds[0], "running")
	require.Equal(t, ec2types.InstanceLifecycleTypeSpot, inst.InstanceLifecycle)
	require.Equal(t, region+"c", *inst.Placement.AvailabilityZone)
	require.Nil(t, inst.PublicIpAddress)
	require.Subset(t, tagsOf(inst), []string{"of=template", "by=fleet"})
	require.Equal(t, "hello", string(m.specs[*inst.InstanceId].UserData))
	require.True(t, m.specs[*inst.InstanceId].Spot)
	requests, err := c.ec2.DescribeSpotInstanceRequests(t.Context(), &ec2.DescribeSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{*inst.SpotInstanceRequestId}})
	require.NoError(t, err)
	require.Equal(t, ec2types.SpotInstanceStateActive, requests.SpotInstanceRequests[0].State)
	require.Equal(t, "request", *requests.SpotInstanceRequests[0].Tags[0].Value)
	_, err = c.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{*inst.SpotInstanceRequestId}, Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	require.NoError(t, err)
	_, err = c.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{*inst.InstanceId}})
	require.Equal(t, "UnsupportedOperation", codeOf(t, err))

	all, err := c.ec2.DescribeFleets(t.Context(), &ec2.DescribeFleetsInput{})
	require.NoError(t, err)
	require.Empty(t, all.Fleets, "fleets of the type instant are shown by their ids only")
	one, err := c.ec2.DescribeFleets(t.Context(), &ec2.DescribeFleetsInput{FleetIds: []string{*out.FleetId}})
	require.NoError(t, err)
	require.Equal(t, *inst.InstanceId, one.Fleets[0].Instances[0].InstanceIds[0])
	gone, err := c.ec2.DeleteFleets(t.Context(), &ec2.DeleteFleetsInput{FleetIds: []string{*out.FleetId, "fleet-0"}, TerminateInstances: aws.Bool(true)})
	require.NoError(t, err)
	require.Len(t, gone.SuccessfulFleetDeletions, 1)
	require.Len(t, gone.UnsuccessfulFleetDeletions, 1)
	c.reaches(*inst.InstanceId, "terminated")

	// Nothing works: the fleet says so, and launches nothing.
	fleet.LaunchTemplateConfigs[0].Overrides, fleet.ClientToken = fleet.LaunchTemplateConfigs[0].Overrides[:1], nil
	out, err = c.ec2.CreateFleet(t.Context(), fleet)
	require.NoError(t, err)
	require.Empty(t, out.Instances)
	require.Len(t, out.Errors, 1)
	again, err := c.ec2.CreateFleet(t.Context(), fleet)
	require.NoError(t, err)
	require.Equal(t, *out.FleetId, *again.FleetId, "the same token, the same fleet")
	fleet.Type = "maintain"
	_, err = c.ec2.CreateFleet(t.Context(), fleet)
	require.Equal(t, "UnsupportedOperation", codeOf(t, err))
	_, err = c.ec2.DeleteLaunchTemplate(t.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("build")})
	require.NoError(t, err)
	_, err = c.ec2.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{"build"}})
	require.Equal(t, "InvalidLaunchTemplateName.NotFoundException", codeOf(t, err))
}

func TestLaunchTemplates(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("template")
	bad := templateOf(ami)
	bad.LaunchTemplateData.RamDiskId = aws.String("ari-1")
	_, err := c.ec2.CreateLaunchTemplate(t.Context(), bad)
	require.Equal(t, "UnsupportedOperation", codeOf(t, err))
	require.ErrorContains(t, err, "LaunchTemplateData.RamDiskId")
	_, err = c.ec2.CreateLaunchTemplate(t.Context(), templateOf(ami))
	require.NoError(t, err)
	in := launchOne(ami)
	in.ImageId = nil
	in.LaunchTemplate = &ec2types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("build")}
	in.InstanceType = ec2types.InstanceTypeM5Large
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	inst := out.Instances[0]
	require.Equal(t, ec2types.InstanceTypeM5Large, inst.InstanceType, "the request goes before the template")
	require.Equal(t, ami, *inst.ImageId)
	in.LaunchTemplate.Version, in.ClientToken = aws.String("7"), nil
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidLaunchTemplateId.VersionNotFound", codeOf(t, err))
}

func TestInstanceAttributes(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("attributes")
	out, err := c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.NoError(t, err)
	id := out.Instances[0].InstanceId
	c.reaches(*id, "running")
	modify := func(in ec2.ModifyInstanceAttributeInput) error {
		in.InstanceId = id
		_, err := c.ec2.ModifyInstanceAttribute(t.Context(), &in)
		return err
	}
	no, yes := &ec2types.AttributeBooleanValue{Value: aws.Bool(false)}, &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}
	require.Equal(t, "IncorrectInstanceState", codeOf(t, modify(ec2.ModifyInstanceAttributeInput{EnaSupport: no})))
	require.Equal(t, "InvalidParameterCombination", codeOf(t, modify(ec2.ModifyInstanceAttributeInput{DisableApiStop: yes, DisableApiTermination: yes})))
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{DisableApiTermination: yes}))
	_, err = c.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{*id}})
	require.Equal(t, "OperationNotPermitted", codeOf(t, err))
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{DisableApiTermination: no}))
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{Attribute: "instanceInitiatedShutdownBehavior", Value: aws.String("terminate")}))
	got, err := c.ec2.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{InstanceId: id, Attribute: "instanceInitiatedShutdownBehavior"})
	require.NoError(t, err)
	require.Equal(t, "terminate", *got.InstanceInitiatedShutdownBehavior.Value)
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{Groups: []string{c.newGroup("new")}}))
	require.Equal(t, "new", *c.instance(*id).SecurityGroups[0].GroupName)
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{BlockDeviceMappings: []ec2types.InstanceBlockDeviceMappingSpecification{
		{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(false)}}}}))
	root := *c.instance(*id).BlockDeviceMappings[0].Ebs.VolumeId
	_, err = c.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{*id}})
	require.NoError(t, err)
	c.reaches(*id, "stopped")
	require.NoError(t, modify(ec2.ModifyInstanceAttributeInput{SriovNetSupport: &ec2types.AttributeValue{Value: aws.String("simple")}}))
	require.Equal(t, "InvalidParameterValue", codeOf(t, modify(ec2.ModifyInstanceAttributeInput{InstanceType: &ec2types.AttributeValue{Value: aws.String("t4g.nano")}})))
	require.Equal(t, "simple", *c.instance(*id).SriovNetSupport)
	c.terminate(*id)
	require.Equal(t, ec2types.VolumeStateAvailable, c.volume(root).State)
}

func TestInstanceTypes(t *testing.T) {
	c := start(t, quiet(t))
	out, err := c.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"m5.xlarge"}})
	require.NoError(t, err)
	require.Equal(t, []int64{4, 16384}, []int64{int64(*out.InstanceTypes[0].VCpuInfo.DefaultVCpus), *out.InstanceTypes[0].MemoryInfo.SizeInMiB})
	_, err = c.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"x9.huge"}})
	require.Equal(t, "InvalidInstanceType", codeOf(t, err))
	n := 0
	for p := ec2.NewDescribeInstanceTypesPaginator(c.ec2, &ec2.DescribeInstanceTypesInput{MaxResults: aws.Int32(50)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		require.NoError(t, err)
		n += len(page.InstanceTypes)
	}
	require.Greater(t, n, 150)
	offers, err := c.ec2.DescribeInstanceTypeOfferings(t.Context(), &ec2.DescribeInstanceTypeOfferingsInput{LocationType: "availability-zone",
		Filters: []ec2types.Filter{where("location", region+"b"), where("instance-type", "t3.micro")}})
	require.NoError(t, err)
	require.Len(t, offers.InstanceTypeOfferings, 1)
}

func TestAddressesOfMachines(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("address")
	in := launchOne(ami)
	in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: aws.String("nobody")}
	_, err := c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidParameterValue", codeOf(t, err))
	require.ErrorContains(t, err, "iamInstanceProfile")
	in.IamInstanceProfile = nil
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	inst := c.reaches(*out.Instances[0].InstanceId, "running")
	spec := m.specs[*inst.InstanceId]
	require.Equal(t, *inst.PublicIpAddress, spec.PublicIP)
	require.Empty(t, spec.PrivateIP, "the guest is told the address that it has: "+machine.GuestIP)
}

func TestInstanceProfile(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("profiled")
	client, ctx, name := iam.NewFromConfig(c.config(region)), t.Context(), aws.String("builder")
	require.NoError(t, second(client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})))
	require.NoError(t, second(client.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name})))
	require.NoError(t, second(client.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: name})))
	in := launchOne(ami)
	in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: name}
	out, err := c.ec2.RunInstances(ctx, in)
	require.NoError(t, err)
	inst := c.reaches(*out.Instances[0].InstanceId, "running")
	profile := m.specs[*inst.InstanceId].Profile
	require.Equal(t, *inst.IamInstanceProfile.Arn, profile.ARN)
	require.Equal(t, "builder", profile.Role)
}
