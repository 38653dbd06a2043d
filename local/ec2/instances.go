// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) machineActions() map[string]handler {
	return map[string]handler{
		"RunInstances":           s.runInstances,
		"DescribeInstances":      s.describeInstances,
		"DescribeInstanceStatus": s.describeInstanceStatus,
		"StartInstances":         s.startInstances,
		"StopInstances":          s.stopInstances,
		"RebootInstances":        s.rebootInstances,
		"TerminateInstances":     s.terminateInstances,
		"GetConsoleOutput":       s.getConsoleOutput,

		"DescribeInstanceAttribute":     s.describeAttribute,
		"ModifyInstanceAttribute":       s.modifyAttribute,
		"ModifyInstanceMetadataOptions": s.modifyMetadata,
		"DescribeInstanceTypes":         s.describeTypes,
		"DescribeInstanceTypeOfferings": s.describeOfferings,
	}
}

type runInstancesReply struct {
	meta
	reservationItem
}

type describeInstancesReply struct {
	meta
	Reservations set[reservationItem] `xml:"reservationSet"`
	NextToken    string               `xml:"nextToken,omitempty"`
}

type reservationItem struct {
	ReservationID string            `xml:"reservationId"`
	OwnerID       string            `xml:"ownerId"`
	Groups        set[groupItem]    `xml:"groupSet"`
	Instances     set[instanceItem] `xml:"instancesSet"`
}

type groupItem struct {
	ID   string `xml:"groupId,omitempty"`
	Name string `xml:"groupName,omitempty"`
}

type stateItem struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type instanceItem struct {
	InstanceID         string          `xml:"instanceId"`
	ImageID            string          `xml:"imageId"`
	State              stateItem       `xml:"instanceState"`
	PrivateDNSName     string          `xml:"privateDnsName"`
	DNSName            string          `xml:"dnsName"`
	Transition         string          `xml:"reason"`
	KeyName            string          `xml:"keyName,omitempty"`
	LaunchIndex        int             `xml:"amiLaunchIndex"`
	InstanceType       string          `xml:"instanceType"`
	LaunchTime         string          `xml:"launchTime"`
	Zone               string          `xml:"placement>availabilityZone"`
	Tenancy            string          `xml:"placement>tenancy"`
	Monitoring         string          `xml:"monitoring>state"`
	SubnetID           string          `xml:"subnetId,omitempty"`
	VPC                string          `xml:"vpcId,omitempty"`
	PrivateIP          string          `xml:"privateIpAddress,omitempty"`
	PublicIP           string          `xml:"ipAddress,omitempty"`
	Interfaces         set[nicItem]    `xml:"networkInterfaceSet"`
	Profile            *profileItem    `xml:"iamInstanceProfile"`
	Lifecycle          string          `xml:"instanceLifecycle,omitempty"`
	SpotRequestID      string          `xml:"spotInstanceRequestId,omitempty"`
	SourceDestCheck    bool            `xml:"sourceDestCheck"`
	SriovNetSupport    string          `xml:"sriovNetSupport,omitempty"`
	TpmSupport         string          `xml:"tpmSupport,omitempty"`
	Groups             set[groupItem]  `xml:"groupSet"`
	StateReason        *reason         `xml:"stateReason"`
	Architecture       string          `xml:"architecture"`
	RootDeviceType     string          `xml:"rootDeviceType"`
	RootDeviceName     string          `xml:"rootDeviceName"`
	BlockDevices       set[volumeItem] `xml:"blockDeviceMapping"`
	VirtualizationType string          `xml:"virtualizationType"`
	ClientToken        string          `xml:"clientToken,omitempty"`
	Tags               set[tagItem]    `xml:"tagSet"`
	Hypervisor         string          `xml:"hypervisor"`
	EbsOptimized       bool            `xml:"ebsOptimized"`
	EnaSupport         bool            `xml:"enaSupport"`
	BootMode           string          `xml:"bootMode,omitempty"`
	CurrentBootMode    string          `xml:"currentInstanceBootMode"`
	Metadata           metadataItem    `xml:"metadataOptions"`
	PlatformDetails    string          `xml:"platformDetails"`
	UsageOperation     string          `xml:"usageOperation"`
}

type volumeItem struct {
	DeviceName          string `xml:"deviceName"`
	VolumeID            string `xml:"ebs>volumeId"`
	Status              string `xml:"ebs>status"`
	AttachTime          string `xml:"ebs>attachTime"`
	DeleteOnTermination bool   `xml:"ebs>deleteOnTermination"`
}

type profileItem struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type metadataItem struct {
	State        string `xml:"state"`
	HTTPTokens   string `xml:"httpTokens"`
	HopLimit     int64  `xml:"httpPutResponseHopLimit"`
	HTTPEndpoint string `xml:"httpEndpoint"`
	IPv6         string `xml:"httpProtocolIpv6"`
	Tags         string `xml:"instanceMetadataTags"`
}

// stateOf gives a state with its code, from the API reference.
func stateOf(name string) stateItem {
	codes := map[string]int{
		store.InstancePending: 0, store.InstanceRunning: 16, store.InstanceShuttingDown: 32,
		store.InstanceTerminated: 48, store.InstanceStopping: 64, store.InstanceStopped: 80,
	}
	return stateItem{codes[name], name}
}

func (s *Service) instanceItem(i store.Instance) instanceItem {
	item := instanceItem{
		InstanceID: i.ID, ImageID: i.ImageID, State: stateOf(i.State), Transition: i.Transition, KeyName: i.KeyName,
		LaunchIndex: i.LaunchIndex, InstanceType: i.InstanceType, LaunchTime: stamp(i.LaunchTime), Zone: i.Zone,
		Tenancy: "default", Monitoring: monitoring(i), Groups: groupSet(i.Groups), EbsOptimized: i.EbsOptimized,
		Architecture: i.Image.Architecture, RootDeviceType: "ebs", RootDeviceName: i.Image.RootDeviceName,
		VirtualizationType: i.Image.VirtualizationType, ClientToken: i.ClientToken, Tags: tagSet(i.Tags), Hypervisor: "xen",
		EnaSupport: i.Image.EnaSupport, SriovNetSupport: i.Image.SriovNetSupport, TpmSupport: i.Image.TpmSupport, BootMode: i.Image.BootMode, CurrentBootMode: "legacy-bios",
		PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances",
		Metadata: metadataOf(i),
	}
	if i.StateCode != "" {
		item.StateReason = &reason{i.StateCode, i.StateMessage}
	}
	if i.SpotRequestID != "" {
		item.Lifecycle, item.SpotRequestID = "spot", i.SpotRequestID
	}
	if i.Profile.ARN != "" {
		item.Profile = &profileItem{i.Profile.ARN, i.Profile.ID}
	}
	if i.State == store.InstanceTerminated {
		return item
	}
	item.SubnetID, item.VPC, item.PrivateIP, item.PublicIP = i.SubnetID, i.VPCID, i.PrivateIP, i.PublicIP
	item.PrivateDNSName, item.DNSName = privateName(i), publicName(i)
	item.Interfaces.Items = []nicItem{s.nicItem(i)}
	item.SourceDestCheck = !i.NoSourceDestCheck
	for _, d := range i.BlockDevices {
		item.BlockDevices.Items = append(item.BlockDevices.Items,
			volumeItem{d.DeviceName, d.VolumeID, "attached", stamp(i.LaunchTime), d.DeleteOnTermination})
	}
	return item
}

func metadataOf(i store.Instance) metadataItem {
	return metadataItem{"applied", i.Metadata.HTTPTokens, i.Metadata.HopLimit, i.Metadata.HTTPEndpoint, "disabled", i.Metadata.InstanceTags}
}

func monitoring(i store.Instance) string {
	if i.Monitoring {
		return "enabled"
	}
	return "disabled"
}

func groupSet(groups []store.Group) set[groupItem] {
	var out set[groupItem]
	for _, g := range groups {
		out.Items = append(out.Items, groupItem(g))
	}
	return out
}

// reservation makes one reservation of instances that were launched together.
func (s *Service) reservation(instances []store.Instance) reservationItem {
	out := reservationItem{OwnerID: s.Account}
	for _, i := range instances {
		out.ReservationID, out.Groups = i.ReservationID, groupSet(i.Groups)
		out.Instances.Items = append(out.Instances.Items, s.instanceItem(i))
	}
	return out
}

// instances is what both describe actions share: the rows of one page.
func (s *Service) instances(r *request, attrs attributes[store.Instance]) ([]store.Instance, string, error) {
	ids := r.list("InstanceId")
	filters, pg := r.filters(), r.paging(5)
	r.ignore("IncludeManagedResources")
	if err := r.checked(); err != nil {
		return nil, "", err
	}
	var rows []store.Instance
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = reg.Instances.All()
		return found("i", "InvalidInstanceID", ids, reg.Instances, noInstance)
	})
	if err != nil {
		return nil, "", err
	}
	if len(ids) > 0 {
		rows = slices.DeleteFunc(rows, func(i store.Instance) bool { return !slices.Contains(ids, i.ID) })
	}
	if rows, err = attrs.keep(rows, filters); err != nil {
		return nil, "", err
	}
	return page(s, r, pg, rows, func(i store.Instance) string { return rowKey(i.LaunchTime, i.ID) })
}

func noInstance(id string) string { return "The instance ID '" + id + "' does not exist" }

func (s *Service) describeInstances(r *request) (reply, error) {
	rows, next, err := s.instances(r, s.instanceFilters())
	if err != nil {
		return nil, err
	}
	out := &describeInstancesReply{NextToken: next}
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(i store.Instance) bool { return i.ReservationID != rows[0].ReservationID })
		if n < 0 {
			n = len(rows)
		}
		out.Reservations.Items = append(out.Reservations.Items, s.reservation(rows[:n]))
		rows = rows[n:]
	}
	return out, nil
}
