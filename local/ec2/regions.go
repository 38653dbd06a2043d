// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type describeRegionsReply struct {
	meta
	Regions set[regionItem] `xml:"regionInfo"`
}

type regionItem struct {
	Name        string `xml:"regionName"`
	Endpoint    string `xml:"regionEndpoint"`
	OptInStatus string `xml:"optInStatus"`
}

// describeRegions lists the regions. They all have this server as endpoint.
func (s *Service) describeRegions(r *request) (reply, error) {
	names, filters := r.list("RegionName"), r.filters()
	r.ignore("AllRegions")
	if err := r.checked(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.Contains(s.Regions, name) {
			return nil, call.Errorf("InvalidParameterValue", "Invalid region names: [%s]", name)
		}
	}
	var rows []regionItem
	for _, name := range s.Regions {
		if len(names) == 0 || slices.Contains(names, name) {
			rows = append(rows, regionItem{name, r.Host, "opt-in-not-required"})
		}
	}
	rows, err := attributes[regionItem]{fields: map[string]func(regionItem) []string{
		"region-name":   only(func(i regionItem) string { return i.Name }),
		"endpoint":      only(func(i regionItem) string { return i.Endpoint }),
		"opt-in-status": only(func(i regionItem) string { return i.OptInStatus }),
	}}.keep(rows, filters)
	if err != nil {
		return nil, err
	}
	return &describeRegionsReply{Regions: set[regionItem]{rows}}, nil
}

type describeZonesReply struct {
	meta
	Zones set[zoneItem] `xml:"availabilityZoneInfo"`
}

type zoneItem struct {
	State       string `xml:"zoneState"`
	OptInStatus string `xml:"optInStatus"`
	RegionName  string `xml:"regionName"`
	ZoneName    string `xml:"zoneName"`
	ZoneID      string `xml:"zoneId"`
	GroupName   string `xml:"groupName"`
	ZoneType    string `xml:"zoneType"`
}

// zoneID is the id of a zone, which on AWS is the same for all accounts.
func zoneID(region, zone string) string {
	return strings.ReplaceAll(region, "-", "") + "-az" + string(rune('1'+slices.Index(store.Zones(region), zone)))
}

func (s *Service) describeZones(r *request) (reply, error) {
	names, ids, filters := r.list("ZoneName"), r.list("ZoneId"), r.filters()
	r.ignore("AllAvailabilityZones")
	if err := r.checked(); err != nil {
		return nil, err
	}
	all := store.Zones(r.Region)
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, call.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", name)
		}
	}
	var rows []zoneItem
	for _, name := range all {
		id := zoneID(r.Region, name)
		if len(names) > 0 && !slices.Contains(names, name) || len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		rows = append(rows, zoneItem{"available", "opt-in-not-required", r.Region, name, id, r.Region + "-zg-1", "availability-zone"})
	}
	rows, err := attributes[zoneItem]{fields: map[string]func(zoneItem) []string{
		"zone-name":   only(func(i zoneItem) string { return i.ZoneName }),
		"zone-id":     only(func(i zoneItem) string { return i.ZoneID }),
		"region-name": only(func(i zoneItem) string { return i.RegionName }),
		"state":       only(func(i zoneItem) string { return i.State }),
	}}.keep(rows, filters)
	if err != nil {
		return nil, err
	}
	return &describeZonesReply{Zones: set[zoneItem]{rows}}, nil
}
