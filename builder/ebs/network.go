// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Values of ssh_interface.
const (
	publicIP       = "public_ip"
	privateIP      = "private_ip"
	publicDNS      = "public_dns"
	privateDNS     = "private_dns"
	sessionManager = "session_manager"
)

// place is where the build machine stands.
type place struct {
	vpc string
	// vpcCIDRs are the address blocks of the VPC.
	vpcCIDRs []string
	// subnets has the chosen subnet first. A spot fleet may use the others, which
	// are in other zones, as well.
	subnets []types.Subnet
	// groups are security groups that exist already.
	groups []string
	// publicIP is whether the machine asks for a public address; nil leaves it to
	// the subnet.
	publicIP *bool
	// iface is ssh_interface, or what stands for its default here.
	iface string
}

// findPlace chooses VPC, subnet and existing security groups.
func (s *site) findPlace(ctx context.Context, net networkReader, kinds typeReader, c NetworkConfig, iface string, instanceTypes []string) (place, error) {
	vpc, err := s.findVPC(ctx, net, c)
	if err != nil {
		return place{}, err
	}
	p := place{vpc: aws.ToString(vpc.VpcId)}
	for _, a := range vpc.CidrBlockAssociationSet {
		p.vpcCIDRs = append(p.vpcCIDRs, aws.ToString(a.CidrBlock))
	}
	if len(p.vpcCIDRs) == 0 && aws.ToString(vpc.CidrBlock) != "" {
		p.vpcCIDRs = []string{aws.ToString(vpc.CidrBlock)}
	}
	if p.subnets, err = s.findSubnets(ctx, net, kinds, c, p.vpc, instanceTypes); err != nil {
		return place{}, err
	}
	if p.groups, err = s.findGroups(ctx, net, c, p.vpc); err != nil {
		return place{}, err
	}
	p.publicIP = c.AssociatePublicIP.ToBoolPointer()
	p.chooseInterface(iface)
	return p, nil
}

// chooseInterface decides what ssh_interface means here, so that the security
// group opens to the address that the connection comes from.
func (p *place) chooseInterface(iface string) {
	born := aws.ToBool(p.subnets[0].MapPublicIpOnLaunch)
	if p.publicIP != nil {
		born = *p.publicIP
	}
	switch {
	case iface != "":
		p.iface = iface
	case born:
		p.iface = publicIP
	default:
		p.iface = privateIP
	}
	if (p.iface == publicIP || p.iface == publicDNS) && !born && p.publicIP == nil {
		p.publicIP = aws.Bool(true)
	}
}

// findVPC finds the VPC that is named, directly or by its subnet; else the
// default one.
func (s *site) findVPC(ctx context.Context, api networkReader, c NetworkConfig) (types.Vpc, error) {
	in, option := &ec2.DescribeVpcsInput{}, "vpc_id"
	switch {
	case c.VpcID != "":
		in.VpcIds = []string{c.VpcID}
	case len(c.VpcFilter.Filters) > 0:
		in.Filters, option = filters(c.VpcFilter.Filters, filter("state", "available")), "vpc_filter"
	case c.SubnetID != "":
		out, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{c.SubnetID}})
		if err != nil {
			return types.Vpc{}, s.fail("look up subnet_id "+c.SubnetID, err)
		}
		if len(out.Subnets) == 0 {
			return types.Vpc{}, fmt.Errorf("subnet_id: %s is not there in %s", c.SubnetID, s.region)
		}
		in.VpcIds = []string{aws.ToString(out.Subnets[0].VpcId)}
	case len(c.SubnetFilter.Filters) > 0:
		return s.vpcOfSubnets(ctx, api, c)
	default:
		in.Filters, option = []types.Filter{filter("is-default", "true")}, "default VPC"
	}
	out, err := api.DescribeVpcs(ctx, in)
	if err != nil {
		return types.Vpc{}, s.fail("look for the VPC ("+option+")", err)
	}
	switch n := len(out.Vpcs); {
	case n == 0 && option == "default VPC":
		return types.Vpc{}, fmt.Errorf("%s has no default VPC: set vpc_id, vpc_filter, subnet_id or subnet_filter", s.region)
	case n == 0:
		return types.Vpc{}, fmt.Errorf("%s: no VPC matches in %s", option, s.region)
	case n > 1:
		return types.Vpc{}, fmt.Errorf("%s: %d VPCs match in %s: narrow it to one", option, n, s.region)
	}
	return out.Vpcs[0], nil
}

// vpcOfSubnets finds the one VPC whose subnets a subnet_filter matches.
func (s *site) vpcOfSubnets(ctx context.Context, api networkReader, c NetworkConfig) (types.Vpc, error) {
	found, err := s.subnets(ctx, api, filters(c.SubnetFilter.Filters, filter("state", "available")))
	if err != nil {
		return types.Vpc{}, err
	}
	var vpcs []string
	for _, n := range found {
		vpcs = append(vpcs, aws.ToString(n.VpcId))
	}
	slices.Sort(vpcs)
	switch vpcs = slices.Compact(vpcs); len(vpcs) {
	case 0:
		return types.Vpc{}, fmt.Errorf("subnet_filter: no subnet matches in %s", s.region)
	case 1:
		return s.findVPC(ctx, api, NetworkConfig{VpcID: vpcs[0]})
	default:
		return types.Vpc{}, fmt.Errorf("subnet_filter: subnets of several VPCs match (%s): set vpc_id as well", strings.Join(vpcs, ", "))
	}
}

func (s *site) subnets(ctx context.Context, api networkReader, by []types.Filter) ([]types.Subnet, error) {
	in := &ec2.DescribeSubnetsInput{Filters: by}
	var found []types.Subnet
	for {
		out, err := api.DescribeSubnets(ctx, in)
		if err != nil {
			return nil, s.fail("look for subnets", err)
		}
		found = append(found, out.Subnets...)
		if aws.ToString(out.NextToken) == "" {
			return found, nil
		}
		in.NextToken = out.NextToken
	}
}

// findSubnets finds the subnets that the machine may stand in, the chosen one
// first.
func (s *site) findSubnets(ctx context.Context, net networkReader, kinds typeReader, c NetworkConfig, vpc string, instanceTypes []string) ([]types.Subnet, error) {
	by := filters(c.SubnetFilter.Filters, filter("state", "available"))
	by = append(by, filter("vpc-id", vpc))
	if c.SubnetID != "" {
		by = append(by, filter("subnet-id", c.SubnetID))
	}
	if c.AvailabilityZone != "" {
		by = append(by, filter("availability-zone", c.AvailabilityZone))
	}
	found, err := s.subnets(ctx, net, by)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("subnets of %s", vpc)
	if c.AvailabilityZone != "" {
		what += " in " + c.AvailabilityZone
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("subnet_id, subnet_filter, vpc_id, availability_zone: they leave no %s", what)
	}
	if c.SubnetID != "" {
		return found, nil
	}
	zones, err := s.zonesOf(ctx, kinds, instanceTypes)
	if err != nil {
		return nil, err
	}
	fit := slices.DeleteFunc(slices.Clone(found), func(n types.Subnet) bool { return !slices.Contains(zones, aws.ToString(n.AvailabilityZone)) })
	if len(fit) == 0 {
		return nil, fmt.Errorf("instance_type: none of the %s is in a zone that has %s (%s): choose another type or zone",
			what, strings.Join(instanceTypes, ", "), strings.Join(zones, ", "))
	}
	return s.orderSubnets(fit, c.SubnetFilter)
}

// orderSubnets puts the chosen subnet first.
func (s *site) orderSubnets(found []types.Subnet, f SubnetFilter) ([]types.Subnet, error) {
	if len(f.Filters) > 0 && len(found) > 1 && !f.MostFree && !f.Random {
		var ids []string
		for _, n := range found {
			ids = append(ids, aws.ToString(n.SubnetId))
		}
		return nil, fmt.Errorf("subnet_filter: %d subnets match (%s): narrow the filters, or set most_free = true or random = true", len(ids), strings.Join(ids, ", "))
	}
	if f.Random {
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] }) //nolint:gosec // spreads machines, hides nothing
		return found, nil
	}
	slices.SortStableFunc(found, func(a, b types.Subnet) int {
		return int(aws.ToInt32(b.AvailableIpAddressCount)) - int(aws.ToInt32(a.AvailableIpAddressCount))
	})
	return found, nil
}

// zonesOf returns the zones that offer one of the instance types.
func (s *site) zonesOf(ctx context.Context, api typeReader, instanceTypes []string) ([]string, error) {
	in := &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: types.LocationTypeAvailabilityZone,
		Filters:      []types.Filter{filter("instance-type", instanceTypes...)},
	}
	var zones []string
	for {
		out, err := api.DescribeInstanceTypeOfferings(ctx, in)
		if err != nil {
			return nil, s.fail("look up the zones of "+strings.Join(instanceTypes, ", "), err)
		}
		for _, o := range out.InstanceTypeOfferings {
			zones = append(zones, aws.ToString(o.Location))
		}
		if aws.ToString(out.NextToken) == "" {
			slices.Sort(zones)
			return slices.Compact(zones), nil
		}
		in.NextToken = out.NextToken
	}
}

// findGroups finds the security groups that exist already; none means that a
// temporary one is wanted.
func (s *site) findGroups(ctx context.Context, api networkReader, c NetworkConfig, vpc string) ([]string, error) {
	in := &ec2.DescribeSecurityGroupsInput{}
	switch {
	case len(c.SecurityGroupIDs) > 0:
		in.GroupIds = c.SecurityGroupIDs
	case len(c.SecurityGroupFilter.Filters) > 0:
		in.Filters = filters(c.SecurityGroupFilter.Filters, filter("vpc-id", vpc))
	default:
		return nil, nil
	}
	out, err := api.DescribeSecurityGroups(ctx, in)
	if err != nil {
		return nil, s.fail("look for security groups", err)
	}
	var ids []string
	for _, g := range out.SecurityGroups {
		if other := aws.ToString(g.VpcId); other != vpc {
			return nil, fmt.Errorf("security_group_ids: %s is in %s, and the machine in %s: use groups of one VPC", aws.ToString(g.GroupId), other, vpc)
		}
		ids = append(ids, aws.ToString(g.GroupId))
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("security_group_filter: no group of %s matches", vpc)
	}
	return ids, nil
}
