// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
)

func (c *cloud) newGroup(name string) string {
	c.t.Helper()
	out, err := c.ec2.CreateSecurityGroup(c.t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("test")})
	require.NoError(c.t, err)
	return *out.GroupId
}

func (c *cloud) subnets(filters ...ec2types.Filter) []ec2types.Subnet {
	c.t.Helper()
	out, err := c.ec2.DescribeSubnets(c.t.Context(), &ec2.DescribeSubnetsInput{Filters: append(filters, where("default-for-az", "true"))})
	require.NoError(c.t, err)
	byZone := make([]ec2types.Subnet, len(out.Subnets))
	for _, s := range out.Subnets {
		zone := *s.AvailabilityZone
		byZone[zone[len(zone)-1]-'a'] = s
	}
	return byZone
}

func where(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: &name, Values: values}
}

func TestDefaultNetwork(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	vpcs, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{where("is-default", "true")}})
	require.NoError(t, err)
	require.Len(t, vpcs.Vpcs, 1)
	vpc := *vpcs.Vpcs[0].VpcId
	require.Len(t, c.subnets(where("vpc-id", vpc), where("state", "available")), 3)
	require.Equal(t, int32(4091), *c.subnets()[0].AvailableIpAddressCount)
	groups, err := c.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{where("vpc-id", vpc)}})
	require.NoError(t, err)
	require.Equal(t, "default", *groups.SecurityGroups[0].GroupName)
	require.Equal(t, *groups.SecurityGroups[0].GroupId, *groups.SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0].GroupId)
	_, err = c.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: groups.SecurityGroups[0].GroupId})
	require.Equal(t, "CannotDelete", codeOf(t, err))
	gateways, err := c.ec2.DescribeInternetGateways(t.Context(), &ec2.DescribeInternetGatewaysInput{Filters: []ec2types.Filter{where("attachment.vpc-id", vpc)}})
	require.NoError(t, err)
	igw := *gateways.InternetGateways[0].InternetGatewayId
	tables, err := c.ec2.DescribeRouteTables(t.Context(), &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{where("vpc-id", vpc), where("association.main", "true")}})
	require.NoError(t, err)
	require.Equal(t, igw, *tables.RouteTables[0].Routes[1].GatewayId)

	// It can be taken down, stays so, and comes back on request.
	_, err = c.ec2.DeleteVpc(t.Context(), &ec2.DeleteVpcInput{VpcId: &vpc})
	require.Equal(t, "DependencyViolation", codeOf(t, err))
	for _, s := range c.subnets() {
		_, err = c.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: s.SubnetId})
		require.NoError(t, err)
	}
	_, err = c.ec2.DeleteInternetGateway(t.Context(), &ec2.DeleteInternetGatewayInput{InternetGatewayId: &igw})
	require.Equal(t, "DependencyViolation", codeOf(t, err))
	_, err = c.ec2.DetachInternetGateway(t.Context(), &ec2.DetachInternetGatewayInput{InternetGatewayId: &igw, VpcId: &vpc})
	require.NoError(t, err)
	_, err = c.ec2.DeleteInternetGateway(t.Context(), &ec2.DeleteInternetGatewayInput{InternetGatewayId: &igw})
	require.NoError(t, err)
	_, err = c.ec2.DeleteVpc(t.Context(), &ec2.DeleteVpcInput{VpcId: &vpc})
	require.NoError(t, err)
	c.stop()
	c = start(t, cfg)
	ami, _ := c.image("homeless")
	_, err = c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.Equal(t, "VPCIdNotSpecified", codeOf(t, err))
	_, err = c.ec2.CreateDefaultVpc(t.Context(), &ec2.CreateDefaultVpcInput{})
	require.NoError(t, err)
	_, err = c.ec2.CreateDefaultVpc(t.Context(), &ec2.CreateDefaultVpcInput{})
	require.Equal(t, "DefaultVpcAlreadyExists", codeOf(t, err))
	_, err = c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.NoError(t, err)
}

func TestNetworkOfOnesOwn(t *testing.T) {
	c := start(t, quiet(t))
	made, err := c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16"), TagSpecifications: specOf("vpc", "Name", "build")})
	require.NoError(t, err)
	vpc := made.Vpc.VpcId
	_, err = c.ec2.ModifyVpcAttribute(t.Context(), &ec2.ModifyVpcAttributeInput{VpcId: vpc, EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}})
	require.NoError(t, err)
	attr, err := c.ec2.DescribeVpcAttribute(t.Context(), &ec2.DescribeVpcAttributeInput{VpcId: vpc, Attribute: "enableDnsHostnames"})
	require.NoError(t, err)
	require.True(t, *attr.EnableDnsHostnames.Value)
	subnet := func(cidr string) (*ec2.CreateSubnetOutput, error) {
		return c.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + "b")})
	}
	for cidr, code := range map[string]string{"10.2.0.0/24": "InvalidSubnet.Range", "10.1.0.0/29": "InvalidSubnet.Range", "ten": "InvalidParameterValue"} {
		_, err := subnet(cidr)
		require.Equal(t, code, codeOf(t, err), cidr)
	}
	sub, err := subnet("10.1.1.0/24")
	require.NoError(t, err)
	_, err = subnet("10.1.0.0/20")
	require.Equal(t, "InvalidSubnet.Conflict", codeOf(t, err))
	c.connect(*vpc, *sub.Subnet.SubnetId)

	ami, _ := c.image("own")
	in := launchOne(ami)
	in.SubnetId = sub.Subnet.SubnetId
	in.SecurityGroupIds = []string{c.newGroup("elsewhere")}
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidParameter", codeOf(t, err))
	in.SecurityGroupIds = nil
	in.Placement = &ec2types.Placement{AvailabilityZone: aws.String(region + "a")}
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidParameterValue", codeOf(t, err))
	in.Placement = nil
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	inst := c.reaches(*out.Instances[0].InstanceId, "running")
	require.Nil(t, inst.PublicIpAddress, "the subnet gives none")
	require.Regexp(t, `^127\.86\.(1[2-9]\d|2\d\d)\.`, *inst.PrivateIpAddress, "an address that leads to the machine")
	require.Equal(t, "default", *inst.SecurityGroups[0].GroupName)
	nics, err := c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{where("subnet-id", *sub.Subnet.SubnetId)}})
	require.NoError(t, err)
	require.Equal(t, *inst.NetworkInterfaces[0].NetworkInterfaceId, *nics.NetworkInterfaces[0].NetworkInterfaceId)
	_, err = c.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: sub.Subnet.SubnetId})
	require.Equal(t, "DependencyViolation", codeOf(t, err))
	c.terminate(*inst.InstanceId)
	_, err = c.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: sub.Subnet.SubnetId})
	require.NoError(t, err)
}

// connect gives a VPC a gateway and its subnet a route to it.
func (c *cloud) connect(vpc, subnet string) {
	c.t.Helper()
	ctx := c.t.Context()
	igw, err := c.ec2.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{})
	require.NoError(c.t, err)
	gateway := igw.InternetGateway.InternetGatewayId
	table, err := c.ec2.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &vpc})
	require.NoError(c.t, err)
	rtb := table.RouteTable.RouteTableId
	route := &ec2.CreateRouteInput{RouteTableId: rtb, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: gateway}
	_, err = c.ec2.CreateRoute(ctx, route)
	require.Equal(c.t, "InvalidParameterValue", codeOf(c.t, err), "not attached yet")
	_, err = c.ec2.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{VpcId: &vpc, InternetGatewayId: gateway})
	require.NoError(c.t, err)
	_, err = c.ec2.CreateRoute(ctx, route)
	require.NoError(c.t, err)
	_, err = c.ec2.CreateRoute(ctx, route)
	require.Equal(c.t, "RouteAlreadyExists", codeOf(c.t, err))
	as, err := c.ec2.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: rtb, SubnetId: &subnet})
	require.NoError(c.t, err)
	_, err = c.ec2.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: rtb})
	require.Equal(c.t, "DependencyViolation", codeOf(c.t, err))
	_, err = c.ec2.DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: as.AssociationId})
	require.NoError(c.t, err)
	_, err = c.ec2.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: rtb})
	require.NoError(c.t, err)
}

func (c *cloud) terminate(id string) {
	c.t.Helper()
	_, err := c.ec2.TerminateInstances(c.t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(c.t, err)
	c.reaches(id, "terminated")
}

func specOf(kind ec2types.ResourceType, key, value string) []ec2types.TagSpecification {
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: []ec2types.Tag{{Key: &key, Value: &value}}}}
}

func TestSecurityGroups(t *testing.T) {
	c := start(t, quiet(t))
	id, other := c.newGroup("one"), c.newGroup("two")
	_, err := c.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("one"), Description: aws.String("again")})
	require.Equal(t, "InvalidGroup.Duplicate", codeOf(t, err))
	ssh := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []ec2types.IpRange{
		{CidrIp: aws.String("10.0.0.0/8"), Description: aws.String("inside")}, {CidrIp: aws.String("192.0.2.1/32")},
	}}
	fromOther := ec2types.IpPermission{IpProtocol: aws.String("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &other}}}
	allow := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []ec2types.IpPermission{ssh, fromOther}}
	added, err := c.ec2.AuthorizeSecurityGroupIngress(t.Context(), allow)
	require.NoError(t, err)
	require.Len(t, added.SecurityGroupRules, 3)
	_, err = c.ec2.AuthorizeSecurityGroupIngress(t.Context(), allow)
	require.Equal(t, "InvalidPermission.Duplicate", codeOf(t, err))
	got, err := c.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{where("ip-permission.cidr", "192.0.2.1/32")}})
	require.NoError(t, err)
	require.Len(t, got.SecurityGroups, 1)
	require.Len(t, got.SecurityGroups[0].IpPermissions[0].IpRanges, 2)
	require.Len(t, got.SecurityGroups[0].IpPermissionsEgress, 1)

	_, err = c.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &other})
	require.Equal(t, "DependencyViolation", codeOf(t, err), "the rule names it")
	_, err = c.ec2.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []ec2types.IpPermission{fromOther}})
	require.NoError(t, err)
	_, err = c.ec2.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []ec2types.IpPermission{fromOther}})
	require.Equal(t, "InvalidPermission.NotFound", codeOf(t, err))
	rules, err := c.ec2.DescribeSecurityGroupRules(t.Context(), &ec2.DescribeSecurityGroupRulesInput{Filters: []ec2types.Filter{where("group-id", id)}})
	require.NoError(t, err)
	require.Len(t, rules.SecurityGroupRules, 3)
	_, err = c.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &other})
	require.NoError(t, err)

	ami, _ := c.image("grouped")
	in := launchOne(ami)
	in.SecurityGroupIds = []string{id}
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	_, err = c.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &id})
	require.Equal(t, "DependencyViolation", codeOf(t, err), "an instance has it")
	c.terminate(*out.Instances[0].InstanceId)
	_, err = c.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &id})
	require.NoError(t, err)
	_, err = c.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	require.Equal(t, "InvalidGroup.NotFound", codeOf(t, err))
	in.ClientToken = nil // the client filled it in, and would get the same answer again
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidGroup.NotFound", codeOf(t, err))
	in.SecurityGroupIds = []string{"web"}
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "InvalidGroupId.Malformed", codeOf(t, err))
}
