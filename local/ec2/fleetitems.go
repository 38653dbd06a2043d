// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type createFleetReply struct {
	meta
	ID        string                 `xml:"fleetId"`
	Errors    set[fleetErrorItem]    `xml:"errorSet"`
	Instances set[fleetInstanceItem] `xml:"fleetInstanceSet"`
}

type describeFleetsReply struct {
	meta
	Fleets    set[fleetItem] `xml:"fleetSet"`
	NextToken string         `xml:"nextToken,omitempty"`
}

type fleetItem struct {
	ID        string                 `xml:"fleetId"`
	State     string                 `xml:"fleetState"`
	Type      string                 `xml:"type"`
	Created   string                 `xml:"createTime"`
	Target    int64                  `xml:"targetCapacitySpecification>totalTargetCapacity"`
	Market    string                 `xml:"targetCapacitySpecification>defaultTargetCapacityType"`
	Fulfilled int                    `xml:"fulfilledCapacity"`
	Errors    set[fleetErrorItem]    `xml:"errorSet"`
	Instances set[fleetInstanceItem] `xml:"fleetInstanceSet"`
	Tags      set[tagItem]           `xml:"tagSet"`
}

type fleetWay struct {
	Template     string `xml:"launchTemplateSpecification>launchTemplateId"`
	Version      string `xml:"launchTemplateSpecification>version"`
	InstanceType string `xml:"overrides>instanceType,omitempty"`
	Subnet       string `xml:"overrides>subnetId,omitempty"`
}

type fleetErrorItem struct {
	Code      string   `xml:"errorCode"`
	Message   string   `xml:"errorMessage"`
	Lifecycle string   `xml:"lifecycle"`
	Way       fleetWay `xml:"launchTemplateAndOverrides"`
}

type fleetInstanceItem struct {
	IDs          set[string] `xml:"instanceIds"`
	InstanceType string      `xml:"instanceType"`
	Lifecycle    string      `xml:"lifecycle"`
	Way          fleetWay    `xml:"launchTemplateAndOverrides"`
}

type deleteFleetsReply struct {
	meta
	Done   set[fleetDeletion] `xml:"successfulFleetDeletionSet"`
	Failed set[fleetFailure]  `xml:"unsuccessfulFleetDeletionSet"`
}

type fleetDeletion struct {
	ID       string `xml:"fleetId"`
	Current  string `xml:"currentFleetState"`
	Previous string `xml:"previousFleetState"`
}

type fleetFailure struct {
	ID      string `xml:"fleetId"`
	Code    string `xml:"error>code"`
	Message string `xml:"error>message"`
}

func fleetInstances(fl store.Fleet) (out set[fleetInstanceItem]) {
	for _, l := range fl.Launch {
		way := fleetWay{fl.Template, fl.Version, l.InstanceType, l.Subnet}
		out.Items = append(out.Items, fleetInstanceItem{set[string]{l.InstanceIDs}, l.InstanceType, fl.Market, way})
	}
	return out
}

func fleetErrors(fl store.Fleet) (out set[fleetErrorItem]) {
	for _, e := range fl.Errors {
		out.Items = append(out.Items, fleetErrorItem{e.Code, e.Message, fl.Market, fleetWay{fl.Template, fl.Version, e.InstanceType, e.Subnet}})
	}
	return out
}

// describeFleets shows fleets by their ids only: on AWS too those of the type
// instant are not listed otherwise.
func (s *Service) describeFleets(r *request) (reply, error) {
	ids := r.list("FleetId")
	rows, next, err := describe(s, r, kind[store.Fleet]{
		ids: "FleetId", prefix: "fleet", code: "InvalidFleetId", absent: "The fleet ID '%s' does not exist.",
		all: func(reg *store.Region) []store.Fleet {
			return slices.DeleteFunc(reg.Fleets.All(), func(store.Fleet) bool { return len(ids) == 0 })
		},
		id:  func(f store.Fleet) string { return f.ID },
		key: func(f store.Fleet) string { return rowKey(f.Created, f.ID) },
		attrs: attributes[store.Fleet]{fields: map[string]func(store.Fleet) []string{
			"fleet-state": only(func(f store.Fleet) string { return f.State }),
			"type":        only(func(store.Fleet) string { return "instant" }),
		}},
	})
	if err != nil {
		return nil, err
	}
	out := &describeFleetsReply{NextToken: next}
	for _, f := range rows {
		item := fleetItem{
			ID: f.ID, State: f.State, Type: "instant", Created: stamp(f.Created), Target: f.Target, Market: f.Market,
			Errors: fleetErrors(f), Instances: fleetInstances(f), Tags: tagSet(f.Tags),
		}
		for _, l := range f.Launch {
			item.Fulfilled += len(l.InstanceIDs)
		}
		out.Fleets.Items = append(out.Fleets.Items, item)
	}
	return out, nil
}

type spotRequestsReply struct {
	meta
	Requests  set[spotRequestItem] `xml:"spotInstanceRequestSet"`
	NextToken string               `xml:"nextToken,omitempty"`
}

type spotRequestItem struct {
	ID         string       `xml:"spotInstanceRequestId"`
	State      string       `xml:"state"`
	Code       string       `xml:"status>code"`
	Type       string       `xml:"type"`
	InstanceID string       `xml:"instanceId"`
	Created    string       `xml:"createTime"`
	Zone       string       `xml:"launchedAvailabilityZone"`
	Tags       set[tagItem] `xml:"tagSet"`
}

// spotState is the state of the request that an instance came of.
func spotState(i store.Instance) (state, code string) {
	if i.State == store.InstanceTerminated || i.State == store.InstanceShuttingDown {
		return "closed", "instance-terminated-by-user"
	}
	return "active", "fulfilled"
}

// describeSpotRequests shows the request of each spot instance.
func (s *Service) describeSpotRequests(r *request) (reply, error) {
	type inst = store.Instance
	state := func(i inst) string { state, _ := spotState(i); return state }
	rows, next, err := describe(s, r, kind[inst]{
		ids: "SpotInstanceRequestId", prefix: "sir", code: "InvalidSpotInstanceRequestID", absent: "The spot instance request ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) []inst {
			return slices.DeleteFunc(reg.Instances.All(), func(i inst) bool { return i.SpotRequestID == "" })
		},
		id:  func(i inst) string { return i.SpotRequestID },
		key: func(i inst) string { return rowKey(i.LaunchTime, i.ID) },
		attrs: attributes[inst]{
			tags: func(i inst) map[string]string { return i.SpotTags },
			fields: map[string]func(inst) []string{
				"instance-id":              only(func(i inst) string { return i.ID }),
				"spot-instance-request-id": only(func(i inst) string { return i.SpotRequestID }),
				"state":                    only(state),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &spotRequestsReply{NextToken: next}
	for _, i := range rows {
		state, code := spotState(i)
		out.Requests.Items = append(out.Requests.Items, spotRequestItem{i.SpotRequestID, state, code, "one-time", i.ID, stamp(i.LaunchTime), i.Zone, tagSet(i.SpotTags)})
	}
	return out, nil
}
