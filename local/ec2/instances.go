// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strconv"

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
	PrivateIP          string          `xml:"privateIpAddress,omitempty"`
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
		Tenancy: "default", Monitoring: "disabled", SubnetID: i.SubnetID, PrivateIP: i.PrivateIP, Groups: groupSet(i.Groups),
		Architecture: i.Image.Architecture, RootDeviceType: "ebs", RootDeviceName: i.Image.RootDeviceName,
		VirtualizationType: i.Image.VirtualizationType, ClientToken: i.ClientToken, Tags: tagSet(i.Tags), Hypervisor: "xen",
		EnaSupport: i.Image.EnaSupport, BootMode: i.Image.BootMode, CurrentBootMode: "legacy-bios",
		PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances",
		Metadata: metadataItem{"applied", i.Metadata.HTTPTokens, i.Metadata.HopLimit, i.Metadata.HTTPEndpoint, "disabled", i.Metadata.InstanceTags},
	}
	if i.StateCode != "" {
		item.StateReason = &reason{i.StateCode, i.StateMessage}
	}
	if i.State == store.InstanceTerminated {
		return item
	}
	for _, d := range i.BlockDevices {
		item.BlockDevices.Items = append(item.BlockDevices.Items,
			volumeItem{d.DeviceName, d.VolumeID, "attached", stamp(i.LaunchTime), d.DeleteOnTermination})
	}
	return item
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

func (s *Service) instanceFilters() attributes[store.Instance] {
	type inst = store.Instance
	volume := func(f func(store.BlockDevice) string) func(inst) []string {
		return func(i inst) (out []string) {
			for _, d := range i.BlockDevices {
				out = append(out, f(d))
			}
			return out
		}
	}
	return attributes[inst]{
		tags: func(i inst) map[string]string { return i.Tags },
		fields: map[string]func(inst) []string{
			"instance-id":                      only(func(i inst) string { return i.ID }),
			"instance-state-name":              only(func(i inst) string { return i.State }),
			"instance-state-code":              only(func(i inst) string { return strconv.Itoa(stateOf(i.State).Code) }),
			"instance-type":                    only(func(i inst) string { return i.InstanceType }),
			"image-id":                         only(func(i inst) string { return i.ImageID }),
			"architecture":                     only(func(i inst) string { return i.Image.Architecture }),
			"availability-zone":                only(func(i inst) string { return i.Zone }),
			"boot-mode":                        only(func(i inst) string { return i.Image.BootMode }),
			"client-token":                     only(func(i inst) string { return i.ClientToken }),
			"key-name":                         only(func(i inst) string { return i.KeyName }),
			"launch-time":                      only(func(i inst) string { return stamp(i.LaunchTime) }),
			"owner-id":                         only(func(inst) string { return s.Account }),
			"private-ip-address":               only(func(i inst) string { return i.PrivateIP }),
			"reason":                           only(func(i inst) string { return i.Transition }),
			"reservation-id":                   only(func(i inst) string { return i.ReservationID }),
			"root-device-name":                 only(func(i inst) string { return i.Image.RootDeviceName }),
			"root-device-type":                 only(func(inst) string { return "ebs" }),
			"state-reason-code":                only(func(i inst) string { return i.StateCode }),
			"subnet-id":                        only(func(i inst) string { return i.SubnetID }),
			"virtualization-type":              only(func(i inst) string { return i.Image.VirtualizationType }),
			"block-device-mapping.volume-id":   volume(func(d store.BlockDevice) string { return d.VolumeID }),
			"block-device-mapping.device-name": volume(func(d store.BlockDevice) string { return d.DeviceName }),
			"metadata-options.http-tokens":     only(func(i inst) string { return i.Metadata.HTTPTokens }),
		},
	}
}
