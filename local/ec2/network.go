// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

// networkActions are those on networks. They keep records and check what AWS
// checks; there are no packets.
func (s *Service) networkActions() map[string]handler {
	return map[string]handler{
		"CreateVpc":                     s.createVPC,
		"CreateDefaultVpc":              s.createDefaultVPC,
		"DescribeVpcs":                  s.describeVPCs,
		"DescribeVpcAttribute":          s.describeVPCAttribute,
		"ModifyVpcAttribute":            s.modifyVPCAttribute,
		"DeleteVpc":                     s.deleteVPC,
		"CreateSubnet":                  s.createSubnet,
		"DescribeSubnets":               s.describeSubnets,
		"ModifySubnetAttribute":         s.modifySubnetAttribute,
		"DeleteSubnet":                  s.deleteSubnet,
		"CreateInternetGateway":         s.createGateway,
		"AttachInternetGateway":         s.attachGateway,
		"DetachInternetGateway":         s.detachGateway,
		"DescribeInternetGateways":      s.describeGateways,
		"DeleteInternetGateway":         s.deleteGateway,
		"CreateRouteTable":              s.createRouteTable,
		"DescribeRouteTables":           s.describeRouteTables,
		"CreateRoute":                   s.createRoute,
		"DeleteRoute":                   s.deleteRoute,
		"AssociateRouteTable":           s.associateRouteTable,
		"DisassociateRouteTable":        s.disassociateRouteTable,
		"DeleteRouteTable":              s.deleteRouteTable,
		"CreateSecurityGroup":           s.createGroup,
		"DescribeSecurityGroups":        s.describeGroups,
		"DescribeSecurityGroupRules":    s.describeRules,
		"DeleteSecurityGroup":           s.deleteGroup,
		"AuthorizeSecurityGroupIngress": s.authorize(false),
		"AuthorizeSecurityGroupEgress":  s.authorize(true),
		"RevokeSecurityGroupIngress":    s.revoke(false),
		"RevokeSecurityGroupEgress":     s.revoke(true),
		"DescribeNetworkInterfaces":     s.describeInterfaces,
	}
}
