// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// tagged is a resource with its tags and the way to write them back.
type tagged struct {
	kind string
	tags map[string]string
	put  func(map[string]string) error
}

// resource finds a resource of any kind by its id.
func resource(reg *store.Region, id string) (tagged, error) {
	prefix, _, _ := strings.Cut(id, "-")
	for _, k := range taggables() {
		if k.prefix == prefix {
			return k.find(reg, id)
		}
	}
	return tagged{}, call.Errorf("InvalidID", "The ID '%s' is not valid", id)
}

// taggable is a kind of resource that has tags.
type taggable struct {
	prefix, kind string
	find         func(*store.Region, string) (tagged, error)
	each         func(*store.Region, func(id string, tags map[string]string))
}

// taggables lists the kinds, with the code and the message for an id that is not there.
func taggables() []taggable {
	return []taggable{
		tags("snap", "snapshot", "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.",
			func(r *store.Region) *store.Table[store.Snapshot] { return r.Snapshots }, func(v *store.Snapshot) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("ami", "image", "InvalidAMIID.NotFound", "The image id '[%s]' does not exist",
			func(r *store.Region) *store.Table[store.Image] { return r.Images }, func(v *store.Image) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("i", "instance", "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.Instance] { return r.Instances }, func(v *store.Instance) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("eni", "network-interface", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.Instance] { return r.Instances }, func(v *store.Instance) (string, *map[string]string) { return interfaceID(*v), &v.InterfaceTags }),
		tags("sir", "spot-instances-request", "InvalidSpotInstanceRequestID.NotFound", "The spot instance request ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.Instance] { return r.Instances }, func(v *store.Instance) (string, *map[string]string) { return v.SpotRequestID, &v.SpotTags }),
		tags("key", "key-pair", "InvalidKeyPair.NotFound", "The key pair ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.KeyPair] { return r.KeyPairs }, func(v *store.KeyPair) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("vol", "volume", "InvalidVolume.NotFound", "The volume '%s' does not exist.",
			func(r *store.Region) *store.Table[store.Volume] { return r.Volumes }, func(v *store.Volume) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("vpc", "vpc", "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.VPC] { return r.VPCs }, func(v *store.VPC) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("subnet", "subnet", "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.Subnet] { return r.Subnets }, func(v *store.Subnet) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("sg", "security-group", "InvalidGroup.NotFound", "The security group '%s' does not exist",
			func(r *store.Region) *store.Table[store.SecurityGroup] { return r.SecurityGroups }, func(v *store.SecurityGroup) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("igw", "internet-gateway", "InvalidInternetGatewayID.NotFound", "The internetGateway ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.InternetGateway] { return r.Gateways }, func(v *store.InternetGateway) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("rtb", "route-table", "InvalidRouteTableID.NotFound", "The routeTable ID '%s' does not exist",
			func(r *store.Region) *store.Table[store.RouteTable] { return r.RouteTables }, func(v *store.RouteTable) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("lt", "launch-template", "InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.",
			func(r *store.Region) *store.Table[store.LaunchTemplate] { return r.Templates }, func(v *store.LaunchTemplate) (string, *map[string]string) { return v.ID, &v.Tags }),
		tags("fleet", "fleet", "InvalidFleetId.NotFound", "The fleet ID '%s' does not exist.",
			func(r *store.Region) *store.Table[store.Fleet] { return r.Fleets }, func(v *store.Fleet) (string, *map[string]string) { return v.ID, &v.Tags }),
	}
}

// rows is the part of a store table that tags need.
type rows[T any] interface {
	All() []T
	Put(T) error
}

// tags makes a kind of resource from its table, and from the place of the id and
// the tags in a record.
func tags[T any, R rows[T]](prefix, kind, code, message string, table func(*store.Region) R, in func(*T) (string, *map[string]string)) taggable {
	return taggable{
		prefix: prefix, kind: kind,
		find: func(reg *store.Region, id string) (tagged, error) {
			for _, row := range table(reg).All() {
				if have, place := in(&row); have == id {
					put := func(tags map[string]string) error {
						*place = tags
						return table(reg).Put(row)
					}
					return tagged{kind, *place, put}, nil
				}
			}
			return tagged{}, call.Errorf(code, message, id)
		},
		each: func(reg *store.Region, f func(string, map[string]string)) {
			for _, row := range table(reg).All() {
				id, tags := in(&row)
				f(id, *tags)
			}
		},
	}
}
