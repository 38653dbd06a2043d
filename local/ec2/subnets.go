// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type subnetReply struct {
	meta
	Subnet subnetItem `xml:"subnet"`
}

type describeSubnetsReply struct {
	meta
	Subnets   set[subnetItem] `xml:"subnetSet"`
	NextToken string          `xml:"nextToken,omitempty"`
}

type subnetItem struct {
	ID       string       `xml:"subnetId"`
	ARN      string       `xml:"subnetArn"`
	State    string       `xml:"state"`
	VPC      string       `xml:"vpcId"`
	CIDR     string       `xml:"cidrBlock"`
	Free     int          `xml:"availableIpAddressCount"`
	Zone     string       `xml:"availabilityZone"`
	ZoneID   string       `xml:"availabilityZoneId"`
	Default  bool         `xml:"defaultForAz"`
	PublicIP bool         `xml:"mapPublicIpOnLaunch"`
	OwnerID  string       `xml:"ownerId"`
	Tags     set[tagItem] `xml:"tagSet"`
}

// subnetRow is a subnet with what else there is to say of it.
type subnetRow struct {
	store.Subnet
	free int
}

func (s *Service) subnetItem(region string, n subnetRow) subnetItem {
	return subnetItem{
		ID: n.ID, ARN: "arn:aws:ec2:" + region + ":" + s.Account + ":subnet/" + n.ID, State: "available", VPC: n.VPC, CIDR: n.CIDR,
		Free: n.free, Zone: n.Zone, ZoneID: zoneID(region, n.Zone), Default: n.Default, PublicIP: n.PublicIP, OwnerID: s.Account, Tags: tagSet(n.Tags),
	}
}

// freeAddresses counts as AWS does: five addresses of a subnet are its own.
func freeAddresses(reg *store.Region, n store.Subnet) int {
	prefix, err := netip.ParsePrefix(n.CIDR)
	if err != nil {
		return 0
	}
	free := 1<<(32-prefix.Bits()) - 5
	for _, i := range reg.Instances.All() {
		if i.SubnetID == n.ID && i.State != store.InstanceTerminated {
			free--
		}
	}
	return free
}

func findSubnet(reg *store.Region, id string) (store.Subnet, error) {
	return finding(reg.Subnets, "subnet", "InvalidSubnetID", "InvalidSubnetID", "The subnet ID '%s' does not exist", id)
}

func (s *Service) createSubnet(r *request) (reply, error) {
	vpcID, cidr, tags := r.need("VpcId"), r.cidr("CidrBlock", "InvalidSubnet"), r.tagSpecs("subnet")["subnet"]
	zone := r.or("AvailabilityZone", r.Region+"a")
	if !slices.Contains(store.Zones(r.Region), zone) {
		r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid.", zone))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	row := subnetRow{Subnet: store.Subnet{ID: store.NewID("subnet"), VPC: vpcID, CIDR: cidr.String(), Zone: zone, Tags: tags}}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		vpc, err := findVPC(reg, vpcID)
		if err != nil {
			return err
		}
		whole, err := netip.ParsePrefix(vpc.CIDR)
		if err != nil || !whole.Contains(cidr.Addr()) || cidr.Bits() < whole.Bits() {
			return call.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid: it is not inside of the VPC's %s.", cidr, vpc.CIDR)
		}
		for _, other := range reg.Subnets.All() {
			if p, err := netip.ParsePrefix(other.CIDR); err == nil && other.VPC == vpcID && p.Overlaps(cidr) {
				return call.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
			}
		}
		row.free = freeAddresses(reg, row.Subnet)
		return reg.Subnets.Put(row.Subnet)
	})
	if err != nil {
		return nil, err
	}
	return &subnetReply{Subnet: s.subnetItem(r.Region, row)}, nil
}

func (s *Service) describeSubnets(r *request) (reply, error) {
	text := only[subnetRow]
	zone, vpc := text(func(n subnetRow) string { return n.Zone }), text(func(n subnetRow) string { return n.VPC })
	cidr, isDefault := text(func(n subnetRow) string { return n.CIDR }), boolText(func(n subnetRow) bool { return n.Default })
	zoneName := text(func(n subnetRow) string { return zoneID(r.Region, n.Zone) })
	rows, next, err := describe(s, r, kind[subnetRow]{
		ids: "SubnetId", prefix: "subnet", code: "InvalidSubnetID", absent: "The subnet ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) (rows []subnetRow) {
			for _, n := range reg.Subnets.All() {
				rows = append(rows, subnetRow{n, freeAddresses(reg, n)})
			}
			return rows
		},
		id: func(n subnetRow) string { return n.ID },
		attrs: attributes[subnetRow]{
			tags: func(n subnetRow) map[string]string { return n.Tags },
			// Several have an older name beside the one in the API reference.
			fields: map[string]func(subnetRow) []string{
				"subnet-id": text(func(n subnetRow) string { return n.ID }), "vpc-id": vpc,
				"availability-zone": zone, "availabilityZone": zone, "availability-zone-id": zoneName, "availabilityZoneId": zoneName,
				"cidr": cidr, "cidr-block": cidr, "cidrBlock": cidr, "default-for-az": isDefault, "defaultForAz": isDefault,
				"available-ip-address-count": text(func(n subnetRow) string { return strconv.Itoa(n.free) }),
				"map-public-ip-on-launch":    boolText(func(n subnetRow) bool { return n.PublicIP }),
				"owner-id":                   text(func(subnetRow) string { return s.Account }),
				"state":                      text(func(subnetRow) string { return "available" }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &describeSubnetsReply{NextToken: next}
	for _, n := range rows {
		out.Subnets.Items = append(out.Subnets.Items, s.subnetItem(r.Region, n))
	}
	return out, nil
}

func (s *Service) modifySubnetAttribute(r *request) (reply, error) {
	id, public := r.need("SubnetId"), r.flag("MapPublicIpOnLaunch.Value", false)
	if !r.has("MapPublicIpOnLaunch") {
		r.fail(missing("MapPublicIpOnLaunch"))
	}
	return s.do1(r, func(reg *store.Region) error {
		subnet, err := findSubnet(reg, id)
		if err != nil {
			return err
		}
		subnet.PublicIP = public
		return reg.Subnets.Put(subnet)
	})
}

func (s *Service) deleteSubnet(r *request) (reply, error) {
	id := r.need("SubnetId")
	return s.do1(r, func(reg *store.Region) error {
		if _, err := findSubnet(reg, id); err != nil {
			return err
		}
		for _, i := range reg.Instances.All() {
			if i.SubnetID == id && i.State != store.InstanceTerminated {
				return call.Errorf("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted: %s is in it.", id, i.ID)
			}
		}
		for _, t := range reg.RouteTables.All() {
			n := len(t.Subnets)
			t.Subnets = slices.DeleteFunc(slices.Clone(t.Subnets), func(a store.Association) bool { return a.Subnet == id })
			if len(t.Subnets) < n {
				if err := reg.RouteTables.Put(t); err != nil {
					return err
				}
			}
		}
		return reg.Subnets.Delete(id)
	})
}
