// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// The addresses of instances lead to their machines from this host, so they are
// loopback addresses: 127.86.x.y is private, 127.87.x.y the public one of the
// same instance. In a subnet of another range they come from spareAddresses.
const (
	privateNet     = "127.86."
	publicNet      = "127.87."
	spareAddresses = "127.86.128.0/17"
)

// place gives an instance its addresses.
func place(reg *store.Region, inst *store.Instance) error {
	subnet, ok := reg.Subnets.Get(inst.SubnetID)
	if !ok {
		return call.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", inst.SubnetID)
	}
	prefix, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil || !netip.MustParsePrefix(store.DefaultCIDR).Contains(prefix.Addr()) {
		prefix = netip.MustParsePrefix(spareAddresses)
	}
	taken := map[string]bool{}
	for _, other := range reg.Instances.All() {
		taken[other.PrivateIP] = true
	}
	// At random, so that two local clouds on one host do not share addresses.
	size := uint32(1) << (32 - prefix.Bits())
	for range 4096 {
		offset := rand.Uint32N(size)                  //nolint:gosec // not a secret
		if offset < reservedLow || offset == size-1 { // as AWS keeps for itself
			continue
		}
		if addr := at(prefix, offset).String(); !taken[addr] {
			inst.PrivateIP = addr
			inst.PublicIP = publicAddress(*inst)
			return nil
		}
	}
	return call.Errorf("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
}

// reservedLow are the addresses at the low end of a subnet that AWS keeps.
const reservedLow = 4

func at(prefix netip.Prefix, offset uint32) netip.Addr {
	b := prefix.Masked().Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += offset
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// publicAddress is the public address of an instance that has one.
func publicAddress(inst store.Instance) string {
	rest, ok := strings.CutPrefix(inst.PrivateIP, privateNet)
	if !ok || !inst.WantPublicIP {
		return ""
	}
	return publicNet + rest
}

// fillNetwork finds subnet and security groups of a launch.
func fillNetwork(reg *store.Region, req *launch) error {
	inst := &req.template
	subnet, err := launchSubnet(reg, inst.SubnetID, req.zone)
	if err != nil {
		return err
	}
	inst.SubnetID, inst.VPCID, inst.Zone = subnet.ID, subnet.VPC, subnet.Zone
	inst.WantPublicIP = subnet.PublicIP
	if req.publicIP != nil {
		inst.WantPublicIP = *req.publicIP
	}
	inst.Groups, err = launchGroups(reg, subnet, req.groupIDs, req.groupNames)
	return err
}

// launchSubnet is the subnet that was named, or the default one of the zone.
func launchSubnet(reg *store.Region, id, zone string) (store.Subnet, error) {
	if zone != "" && !slices.Contains(store.Zones(reg.Name), zone) {
		return store.Subnet{}, call.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
	}
	if id != "" {
		subnet, err := findSubnet(reg, id)
		if err == nil && zone != "" && subnet.Zone != zone {
			err = call.Errorf("InvalidParameterValue", "The specified subnet %s is in the availability zone %s, not in %s.", id, subnet.Zone, zone)
		}
		return subnet, err
	}
	for _, want := range store.Zones(reg.Name) {
		for _, subnet := range reg.Subnets.All() {
			if subnet.Default && subnet.Zone == want && (zone == "" || zone == want) {
				return subnet, nil
			}
		}
	}
	if _, ok := defaultVPC(reg); !ok {
		return store.Subnet{}, noDefaultVPC()
	}
	return store.Subnet{}, call.Errorf("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
}

func noDefaultVPC() error {
	return call.Errorf("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
}

// launchGroups are the groups that were named, or the default one of the VPC.
func launchGroups(reg *store.Region, subnet store.Subnet, ids, names []string) ([]store.Group, error) {
	var out []store.Group
	for _, id := range ids {
		g, err := findGroup(reg, id)
		if err != nil {
			return nil, err
		}
		if g.VPC != subnet.VPC {
			return nil, call.Errorf("InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, subnet.ID)
		}
		out = append(out, store.Group{ID: g.ID, Name: g.Name})
	}
	if len(ids)+len(names) == 0 {
		names = []string{"default"}
	}
	for _, name := range names {
		g, ok := groupNamed(reg, subnet.VPC, name)
		if !ok {
			return nil, call.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", name, subnet.VPC)
		}
		out = append(out, store.Group{ID: g.ID, Name: g.Name})
	}
	return out, nil
}
