// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

func TestFindPlace(t *testing.T) {
	some := map[string]string{"tag:x": "y"}
	for name, tc := range map[string]struct {
		config NetworkConfig
		change func(*cloud)
		iface  string
		want   func(*testing.T, place)
		err    string
	}{
		"defaults": {NetworkConfig{}, nil, "", func(t *testing.T, p place) {
			require.Equal(t, "vpc-1", p.vpc)
			require.Equal(t, "subnet-b", *p.subnets[0].SubnetId, "the one with the most free addresses")
			require.Len(t, p.subnets, 2)
			require.Equal(t, []string{"10.0.0.0/16"}, p.vpcCIDRs)
			require.Empty(t, p.groups)
			require.Equal(t, publicIP, p.iface)
			require.Nil(t, p.publicIP)
		}, ""},
		"no default VPC": {NetworkConfig{}, func(c *cloud) { c.vpcs[0].IsDefault = nil }, "", nil, "us-east-1 has no default VPC: set vpc_id, vpc_filter, subnet_id or subnet_filter"},
		"zone without the type": {NetworkConfig{}, func(c *cloud) { c.offered = []string{"us-east-1a"} }, "", func(t *testing.T, p place) {
			require.Equal(t, "subnet-a", *p.subnets[0].SubnetId)
			require.Len(t, p.subnets, 1)
		}, ""},
		"no zone has the type":    {NetworkConfig{}, func(c *cloud) { c.offered = nil }, "", nil, "none of the subnets of vpc-1 is in a zone that has t3.small"},
		"zone":                    {NetworkConfig{AvailabilityZone: "us-east-1a"}, nil, "", func(t *testing.T, p place) { require.Equal(t, "subnet-a", *p.subnets[0].SubnetId) }, ""},
		"zone without a subnet":   {NetworkConfig{AvailabilityZone: "us-east-1c"}, nil, "", nil, "they leave no subnets of vpc-1 in us-east-1c"},
		"subnet":                  {NetworkConfig{SubnetID: "subnet-a"}, nil, "", func(t *testing.T, p place) { require.Len(t, p.subnets, 1) }, ""},
		"absent subnet":           {NetworkConfig{SubnetID: "subnet-z"}, nil, "", nil, "subnet_id: subnet-z is not there"},
		"several subnets":         {NetworkConfig{SubnetFilter: SubnetFilter{Filters: some}}, nil, "", nil, "subnet_filter: 2 subnets match (subnet-a, subnet-b): narrow the filters, or set most_free = true or random = true"},
		"most free":               {NetworkConfig{SubnetFilter: SubnetFilter{Filters: some, MostFree: true}}, nil, "", func(t *testing.T, p place) { require.Equal(t, "subnet-b", *p.subnets[0].SubnetId) }, ""},
		"random":                  {NetworkConfig{SubnetFilter: SubnetFilter{Filters: some, Random: true}}, nil, "", func(t *testing.T, p place) { require.Len(t, p.subnets, 2) }, ""},
		"subnets of several VPCs": {NetworkConfig{SubnetFilter: SubnetFilter{Filters: some}}, func(c *cloud) { c.subnets[0].VpcId = aws.String("vpc-2") }, "", nil, "set vpc_id as well"},
		"VPC":                     {NetworkConfig{VpcID: "vpc-2"}, func(c *cloud) { c.vpcs = append(c.vpcs, types.Vpc{VpcId: aws.String("vpc-2")}) }, "", nil, "they leave no subnets of vpc-2"},
		"groups":                  {NetworkConfig{SecurityGroupIDs: []string{"sg-old"}}, nil, "", func(t *testing.T, p place) { require.Equal(t, []string{"sg-old"}, p.groups) }, ""},
		"groups by filter":        {NetworkConfig{SecurityGroupFilter: Filter{some}}, nil, "", nil, "security_group_filter: no group of vpc-1 matches"},
		"group of another VPC": {NetworkConfig{SecurityGroupIDs: []string{"sg-old"}}, func(c *cloud) {
			c.groups["sg-old"] = types.SecurityGroup{GroupId: aws.String("sg-old"), VpcId: aws.String("vpc-2")}
		}, "", nil, "sg-old is in vpc-2"},
		"private subnet": {NetworkConfig{}, func(c *cloud) { c.subnets[1].MapPublicIpOnLaunch = nil }, "", func(t *testing.T, p place) { require.Equal(t, privateIP, p.iface) }, ""},
		"public address asked for": {NetworkConfig{}, func(c *cloud) { c.subnets[1].MapPublicIpOnLaunch = nil }, publicDNS, func(t *testing.T, p place) {
			require.Equal(t, publicDNS, p.iface)
			require.True(t, *p.publicIP)
		}, ""},
		"no public address": {NetworkConfig{AssociatePublicIP: config.TriFalse}, nil, "", func(t *testing.T, p place) {
			require.Equal(t, privateIP, p.iface)
			require.False(t, *p.publicIP)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newCloud(), newSite(t)
			if tc.change != nil {
				tc.change(c)
			}
			p, err := s.findPlace(context.Background(), c, c, tc.config, tc.iface, []string{"t3.small"})
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			tc.want(t, p)
		})
	}
}

// The world is let in only when the template says so.
func TestOpenTo(t *testing.T) {
	answers := []string{"nonsense", "203.0.113.7\n"}
	echo := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(answers[0]))
		answers = answers[1:]
	}))
	defer echo.Close()
	broken := httptest.NewTLSServer(http.NotFoundHandler())
	defer broken.Close()
	world := NetworkConfig{TemporarySGCIDRs: []string{"0.0.0.0/0"}}
	here := place{iface: publicIP, vpcCIDRs: []string{"10.0.0.0/16"}}
	for name, tc := range map[string]struct {
		config NetworkConfig
		place  place
		local  bool
		want   []string
	}{
		"public address":  {NetworkConfig{PublicIPURL: echo.URL}, here, false, []string{"203.0.113.7/32"}},
		"asked for":       {world, here, false, []string{"0.0.0.0/0"}},
		"local cloud":     {NetworkConfig{}, here, true, []string{"127.0.0.0/8"}},
		"private":         {NetworkConfig{}, place{iface: privateDNS, vpcCIDRs: here.vpcCIDRs}, false, []string{"10.0.0.0/16"}},
		"session manager": {NetworkConfig{}, place{iface: sessionManager}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.local = tc.local
			got, err := s.openTo(context.Background(), echo.Client(), tc.config, tc.place)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	_, err := newSite(t).openTo(context.Background(), broken.Client(), NetworkConfig{PublicIPURL: broken.URL}, here)
	require.ErrorContains(t, err, "404")
	require.ErrorContains(t, err, "temporary_security_group_source_cidrs")
}

func TestIngress(t *testing.T) {
	c, s := newCloud(), newSite(t)
	_, err := s.makeGroup(context.Background(), c, "vpc-1", 2222, []string{"192.0.2.1/32", "2001:db8::/64"})
	require.NoError(t, err)
	in := c.in["AuthorizeSecurityGroupIngress"].(*ec2.AuthorizeSecurityGroupIngressInput).IpPermissions
	require.Len(t, in, 1)
	require.Equal(t, int32(2222), *in[0].FromPort)
	require.Equal(t, int32(2222), *in[0].ToPort)
	require.Equal(t, "tcp", *in[0].IpProtocol)
	require.Len(t, in[0].IpRanges, 1)
	require.Equal(t, "192.0.2.1/32", *in[0].IpRanges[0].CidrIp)
	require.Len(t, in[0].Ipv6Ranges, 1)
	require.Equal(t, "2001:db8::/64", *in[0].Ipv6Ranges[0].CidrIpv6)
	create := c.in["CreateSecurityGroup"].(*ec2.CreateSecurityGroupInput)
	require.Equal(t, "b1", tagOf(create.TagSpecifications[0].Tags, tagTemporary))
	require.Equal(t, "2023-11-14T22:13:20Z", tagOf(create.TagSpecifications[0].Tags, tagCreated))

	c, s = newCloud(), newSite(t)
	_, err = s.makeGroup(context.Background(), c, "vpc-1", 22, nil)
	require.NoError(t, err)
	require.NotContains(t, c.calls, "AuthorizeSecurityGroupIngress")
}

func TestAddress(t *testing.T) {
	c, s := newCloud(), newSite(t)
	m := types.Instance{
		InstanceId: aws.String("i-1"), State: &types.InstanceState{Name: types.InstanceStateNameRunning}, PublicIpAddress: aws.String("192.0.2.9"),
		PrivateIpAddress: aws.String("10.0.0.9"), PublicDnsName: aws.String("public.example"), PrivateDnsName: aws.String("private.example"),
	}
	c.machines["i-1"] = &m
	for iface, want := range map[string]string{publicIP: "192.0.2.9", privateIP: "10.0.0.9", publicDNS: "public.example", privateDNS: "private.example"} {
		got, err := s.address(context.Background(), c, "i-1", iface, 2022)
		require.NoError(t, err)
		require.Equal(t, address{want, 2022}, got)
	}
	m.PublicIpAddress = nil
	_, err := s.address(context.Background(), c, "i-1", publicIP, 22)
	require.ErrorContains(t, err, "no public_ip yet")
	for value, want := range map[string]string{"127.0.0.1:4022": "127.0.0.1", "198.51.100.1:22": "10.0.0.9", "nonsense": "10.0.0.9", "127.0.0.1:99999": "10.0.0.9"} {
		m.Tags = []types.Tag{{Key: aws.String(localcloud.TagSSH), Value: aws.String(value)}}
		s.local = true
		got, err := s.address(context.Background(), c, "i-1", privateIP, 22)
		require.NoError(t, err)
		require.Equal(t, want, got.host, value)
		s.local = false
		got, err = s.address(context.Background(), c, "i-1", privateIP, 22)
		require.NoError(t, err)
		require.Equal(t, "10.0.0.9", got.host, "only a cloud on this machine is believed")
	}
}
