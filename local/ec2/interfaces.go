// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// nicItem is the one network interface of an instance, as both DescribeInstances
// and DescribeNetworkInterfaces show it.
type nicItem struct {
	ID         string            `xml:"networkInterfaceId"`
	Subnet     string            `xml:"subnetId"`
	VPC        string            `xml:"vpcId"`
	Zone       string            `xml:"availabilityZone,omitempty"`
	OwnerID    string            `xml:"ownerId"`
	Status     string            `xml:"status"`
	MAC        string            `xml:"macAddress"`
	PrivateIP  string            `xml:"privateIpAddress"`
	PrivateDNS string            `xml:"privateDnsName"`
	SourceDest bool              `xml:"sourceDestCheck"`
	Groups     set[groupItem]    `xml:"groupSet"`
	Attachment nicAttachmentItem `xml:"attachment"`
	Public     *nicPublicItem    `xml:"association"`
	Type       string            `xml:"interfaceType"`
	Tags       set[tagItem]      `xml:"tagSet"`
}

type nicAttachmentItem struct {
	ID                  string `xml:"attachmentId"`
	InstanceID          string `xml:"instanceId"`
	DeviceIndex         int    `xml:"deviceIndex"`
	Status              string `xml:"status"`
	Time                string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

type nicPublicItem struct {
	IP    string `xml:"publicIp"`
	DNS   string `xml:"publicDnsName"`
	Owner string `xml:"ipOwnerId"`
}

// interfaceID is the id of the network interface of an instance.
func interfaceID(i store.Instance) string { return "eni-" + strings.TrimPrefix(i.ID, "i-") }

func privateName(i store.Instance) string {
	if i.PrivateIP == "" {
		return ""
	}
	return "ip-" + strings.ReplaceAll(i.PrivateIP, ".", "-") + ".ec2.internal"
}

// publicName is the public address again: a name would lead nowhere, and what
// resolves an address gets the address.
func publicName(i store.Instance) string { return i.PublicIP }

func (s *Service) nicItem(i store.Instance) nicItem {
	item := nicItem{
		ID: interfaceID(i), Subnet: i.SubnetID, VPC: i.VPCID, OwnerID: s.Account, Status: "in-use", MAC: machine.MAC(i.ID),
		PrivateIP: i.PrivateIP, PrivateDNS: privateName(i), SourceDest: !i.NoSourceDestCheck, Groups: groupSet(i.Groups), Type: "interface",
		Attachment: nicAttachmentItem{"eni-attach-" + strings.TrimPrefix(i.ID, "i-"), i.ID, 0, "attached", stamp(i.LaunchTime), true},
	}
	if i.PublicIP != "" {
		item.Public = &nicPublicItem{i.PublicIP, publicName(i), "amazon"}
	}
	return item
}

type describeInterfacesReply struct {
	meta
	Interfaces set[nicItem] `xml:"networkInterfaceSet"`
	NextToken  string       `xml:"nextToken,omitempty"`
}

// describeInterfaces shows the network interfaces of all instances. There are no
// others.
func (s *Service) describeInterfaces(r *request) (reply, error) {
	type inst = store.Instance
	attrs := s.instanceFilters()
	rows, next, err := describe(s, r, kind[inst]{
		ids: "NetworkInterfaceId", prefix: "eni", code: "InvalidNetworkInterfaceID", malformed: "InvalidNetworkInterfaceId",
		absent: "The networkInterface ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) []inst {
			return slices.DeleteFunc(reg.Instances.All(), func(i inst) bool { return i.State == store.InstanceTerminated })
		},
		id: interfaceID,
		attrs: attributes[inst]{
			tags: func(i inst) map[string]string { return i.InterfaceTags },
			fields: map[string]func(inst) []string{
				"network-interface-id":   only(interfaceID),
				"attachment.instance-id": attrs.fields["instance-id"],
				"subnet-id":              attrs.fields["subnet-id"],
				"vpc-id":                 attrs.fields["vpc-id"],
				"group-id":               attrs.fields["instance.group-id"],
				"private-ip-address":     attrs.fields["private-ip-address"],
				"availability-zone":      attrs.fields["availability-zone"],
				"status":                 only(func(inst) string { return "in-use" }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b inst) int { return strings.Compare(a.ID, b.ID) })
	out := &describeInterfacesReply{NextToken: next}
	for _, i := range rows {
		item := s.nicItem(i)
		item.Zone, item.Tags = i.Zone, tagSet(i.InterfaceTags)
		out.Interfaces.Items = append(out.Interfaces.Items, item)
	}
	return out, nil
}
