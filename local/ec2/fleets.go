// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// The states of a fleet of the type instant.
const (
	fleetActive  = "active"
	fleetDeleted = "deleted_terminating"
)

// candidate is one way to launch the instances of a fleet.
type candidate struct {
	find      func(*store.Region) (store.LaunchTemplate, error)
	version   string
	overrides map[string]string
	priority  float64
}

// createFleet launches instances at once, of the first of its templates and
// overrides that works; the others are told as errors, as on AWS. Only the type
// instant is there, since fleets of the others live on by themselves.
func (s *Service) createFleet(r *request) (reply, error) {
	fl := store.Fleet{
		ID: store.NewID("fleet"), State: fleetActive, Created: s.Store.Now().UTC(),
		Target:      r.number("TargetCapacitySpecification.TotalTargetCapacity", 0, 1, maxCount),
		Market:      r.oneOf("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand", "spot", "on-demand"),
		ClientToken: r.str("ClientToken"), RequestHash: requestHash(r),
	}
	if fl.Target == 0 {
		r.fail(missing("TargetCapacitySpecification.TotalTargetCapacity"))
	}
	if kind := r.or("Type", "maintain"); kind != "instant" {
		r.fail(call.Errorf("UnsupportedOperation", "The local cloud supports fleets of the type instant only, not %s.", kind))
	}
	_ = r.oneOf("ReplaceUnhealthyInstances", "false", "false")
	_ = r.oneOf("SpotOptions.InstanceInterruptionBehavior", "terminate", "terminate")
	// There is room for everything at any price, so that these change nothing.
	r.ignore("SpotOptions.AllocationStrategy", "SpotOptions.MaxTotalPrice", "SpotOptions.SingleInstanceType", "SpotOptions.SingleAvailabilityZone",
		"SpotOptions.MinTargetCapacity", "OnDemandOptions.AllocationStrategy", "OnDemandOptions.MaxTotalPrice", "OnDemandOptions.SingleInstanceType",
		"OnDemandOptions.SingleAvailabilityZone", "OnDemandOptions.MinTargetCapacity", "ExcessCapacityTerminationPolicy", "TerminateInstancesWithExpiration")
	specs := r.tagSpecs("fleet", "instance", "volume", "launch-template")
	fl.Tags = specs["fleet"]
	ways := r.candidates()
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, other := range reg.Fleets.All() {
			if fl.ClientToken != "" && other.ClientToken == fl.ClientToken {
				if other.RequestHash != fl.RequestHash {
					return mismatch()
				}
				fl = other
				return nil
			}
		}
		for _, way := range ways {
			if err := s.tryCandidate(r, reg, &fl, way, specs); err != nil || len(fl.Launch) > 0 {
				return errors.Join(err, reg.Fleets.Put(fl))
			}
		}
		return reg.Fleets.Put(fl)
	})
	if err != nil {
		return nil, err
	}
	for _, l := range fl.Launch {
		for _, id := range l.InstanceIDs {
			s.Fleet.Launch(r.Region, id) // again for a repeated request, which does no harm
		}
	}
	return &createFleetReply{ID: fl.ID, Instances: fleetInstances(fl), Errors: fleetErrors(fl)}, nil
}

// candidates reads the launch templates with their overrides.
func (p params) candidates() []candidate {
	var out []candidate
	configs := p.each("LaunchTemplateConfigs")
	if len(configs) == 0 {
		p.fail(missing("LaunchTemplateConfigs"))
	}
	for _, c := range configs {
		base := candidate{
			find:    c.templateOf("LaunchTemplateSpecification.LaunchTemplateId", "LaunchTemplateSpecification.LaunchTemplateName"),
			version: c.need("LaunchTemplateSpecification.Version"),
		}
		all := c.each("Overrides")
		if len(all) == 0 {
			out = append(out, base)
		}
		for _, o := range all {
			way := base
			way.overrides = map[string]string{}
			for name, param := range map[string]string{
				"InstanceType": "InstanceType", "SubnetId": "SubnetId", "AvailabilityZone": "Placement.AvailabilityZone", "ImageId": "ImageId",
			} {
				if v := o.str(name); v != "" {
					way.overrides[param] = v
				}
			}
			if text := o.str("Priority"); text != "" {
				var err error
				if way.priority, err = strconv.ParseFloat(text, 64); err != nil {
					p.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter priority is invalid.", text))
				}
			}
			o.ignore("MaxPrice")
			out = append(out, way)
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int { return cmp.Compare(a.priority, b.priority) })
	return out
}

// tryCandidate launches the fleet's instances, or notes why that cannot be.
func (s *Service) tryCandidate(r *request, reg *store.Region, fl *store.Fleet, way candidate, specs map[string]map[string]string) error {
	template, err := way.find(reg)
	if err != nil {
		return err
	}
	version, err := versionOf(template, way.version)
	if err != nil {
		return err
	}
	fl.Template, fl.Version = template.ID, itoa(version.Number)
	data := maps.Clone(version.Data)
	for name, value := range way.overrides {
		if nic := "NetworkInterface.1."; name == "SubnetId" && hasPrefix(data, nic) {
			name = nic + name
		}
		data[name] = value
	}
	data["MinCount"], data["MaxCount"] = itoa(fl.Target), itoa(fl.Target)
	launchReq := launchRequest(r, data)
	req := s.readLaunch(launchReq)
	req.spot = fl.Market == "spot"
	req.template.FleetID, req.template.ClientToken = fl.ID, ""
	req.template.Tags, req.volumeTags = merged(req.template.Tags, specs["instance"]), merged(req.volumeTags, specs["volume"])
	var launched []store.Instance
	if err = launchReq.problem(); err == nil {
		launched, err = s.launch(reg, req)
	}
	var refused *call.Error
	if errors.As(err, &refused) {
		fl.Errors = append(fl.Errors, store.FleetError{
			InstanceType: req.template.InstanceType, Subnet: data["SubnetId"], Code: refused.Code, Message: refused.Message,
		})
		return nil
	}
	if err != nil {
		return err
	}
	l := store.FleetLaunch{InstanceType: req.template.InstanceType, Subnet: launched[0].SubnetID}
	for _, inst := range launched {
		l.InstanceIDs = append(l.InstanceIDs, inst.ID)
	}
	fl.Launch = []store.FleetLaunch{l}
	return nil
}

func hasPrefix(data map[string]string, prefix string) bool {
	for k := range data {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// merged lays tags over others.
func merged(base, top map[string]string) map[string]string {
	if len(base)+len(top) == 0 {
		return nil
	}
	out := map[string]string{}
	maps.Copy(out, base)
	maps.Copy(out, top)
	return out
}

// deleteFleets ends fleets with their instances, which for the type instant is
// the only way.
func (s *Service) deleteFleets(r *request) (reply, error) {
	ids, terminate := r.list("FleetId"), r.flag("TerminateInstances", false)
	if len(ids) == 0 {
		r.fail(missing("FleetId"))
	}
	if !terminate {
		r.fail(call.Errorf("InvalidParameterValue", "TerminateInstances must be true: a fleet of the type instant is deleted with its instances."))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &deleteFleetsReply{}
	var end []string
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, id := range ids {
			fl, ok := reg.Fleets.Get(id)
			if !ok {
				out.Failed.Items = append(out.Failed.Items, fleetFailure{id, "fleetIdDoesNotExist", "The fleet ID '" + id + "' does not exist."})
				continue
			}
			out.Done.Items = append(out.Done.Items, fleetDeletion{id, fleetDeleted, fl.State})
			for _, l := range fl.Launch {
				for _, instance := range l.InstanceIDs {
					if _, ok := reg.Instances.Get(instance); ok {
						end = append(end, instance)
					}
				}
			}
			fl.State = fleetDeleted
			if err := reg.Fleets.Put(fl); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(end) > 0 {
		_, err = s.transit(r.Region, end, s.termination(r.Region))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}
