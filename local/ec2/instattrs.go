// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"encoding/base64"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// attributeReply has one of its attributes set.
type attributeReply struct {
	meta
	ID              string           `xml:"instanceId"`
	Type            *textItem        `xml:"instanceType"`
	UserData        *textItem        `xml:"userData"`
	Shutdown        *textItem        `xml:"instanceInitiatedShutdownBehavior"`
	RootDevice      *textItem        `xml:"rootDeviceName"`
	Sriov           *textItem        `xml:"sriovNetSupport"`
	Ena             *boolItem        `xml:"enaSupport"`
	NoTermination   *boolItem        `xml:"disableApiTermination"`
	NoStop          *boolItem        `xml:"disableApiStop"`
	EbsOptimized    *boolItem        `xml:"ebsOptimized"`
	SourceDestCheck *boolItem        `xml:"sourceDestCheck"`
	Groups          *set[groupItem]  `xml:"groupSet"`
	BlockDevices    *set[volumeItem] `xml:"blockDeviceMapping"`
}

// textItem is EC2's AttributeValue.
type textItem struct {
	Value string `xml:"value,omitempty"`
}

// describeAttribute shows one attribute of an instance.
func (s *Service) describeAttribute(r *request) (reply, error) {
	id, name := r.need("InstanceId"), r.need("Attribute")
	if err := r.checked(); err != nil {
		return nil, err
	}
	var i store.Instance
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows, err := findInstances(reg, []string{id})
		if err == nil {
			i = rows[0]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &attributeReply{ID: id}
	switch name {
	case "instanceType":
		out.Type = &textItem{i.InstanceType}
	case "userData":
		out.UserData = &textItem{base64.StdEncoding.EncodeToString(i.UserData)}
	case "instanceInitiatedShutdownBehavior":
		out.Shutdown = &textItem{i.ShutdownBehavior}
	case "rootDeviceName":
		out.RootDevice = &textItem{i.Image.RootDeviceName}
	case "sriovNetSupport":
		out.Sriov = &textItem{i.Image.SriovNetSupport}
	case "enaSupport":
		out.Ena = &boolItem{i.Image.EnaSupport}
	case "disableApiTermination":
		out.NoTermination = &boolItem{i.NoTermination}
	case "disableApiStop":
		out.NoStop = &boolItem{i.NoStop}
	case "ebsOptimized":
		out.EbsOptimized = &boolItem{i.EbsOptimized}
	case "sourceDestCheck":
		out.SourceDestCheck = &boolItem{!i.NoSourceDestCheck}
	case "groupSet":
		groups := groupSet(i.Groups)
		out.Groups = &groups
	case "blockDeviceMapping":
		devices := s.instanceItem(i).BlockDevices
		out.BlockDevices = &devices
	default:
		return nil, call.Errorf("UnsupportedOperation", "The local cloud has no attribute %s of an instance.", name)
	}
	return out, nil
}

// attributeChange is one change of ModifyInstanceAttribute.
type attributeChange struct {
	// stopped says that the instance must be stopped for it.
	stopped bool
	apply   func(*store.Region, *store.Instance) error
}

// modifyAttribute changes attributes. The API takes one at a time, in either of
// two forms: NAME.Value, or Attribute and Value.
func (s *Service) modifyAttribute(r *request) (reply, error) {
	id := r.need("InstanceId")
	changes := r.attributeChanges()
	if len(changes) != 1 && r.problem() == nil {
		r.fail(call.Errorf("InvalidParameterCombination", "Name one attribute to modify at a time, not %d.", len(changes)))
	}
	return s.do1(r, func(reg *store.Region) error {
		rows, err := findInstances(reg, []string{id})
		if err != nil {
			return err
		}
		i, change := rows[0], changes[0]
		if i.State == store.InstanceTerminated || change.stopped && i.State != store.InstanceStopped {
			return call.Errorf("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", id)
		}
		if err := change.apply(reg, &i); err != nil {
			return err
		}
		return reg.Instances.Put(i)
	})
}

// attributeChanges reads what is to be changed.
func (p params) attributeChanges() []attributeChange {
	var out []attributeChange
	long := p.str("Attribute") // the longer form
	text := func(api, attribute string, stopped bool, set func(*store.Region, *store.Instance, string) error) {
		value, given := p.str(api+".Value"), p.has(api+".Value")
		if api == "InstanceInitiatedShutdownBehavior" || long == attribute {
			value, given = p.or(api+".Value", p.str("Value")), given || long == attribute
		}
		if given {
			out = append(out, attributeChange{stopped, func(reg *store.Region, i *store.Instance) error { return set(reg, i, value) }})
		}
	}
	flag := func(api, attribute string, stopped bool, set func(*store.Instance, bool)) {
		text(api, attribute, stopped, func(_ *store.Region, i *store.Instance, v string) error {
			if v != "true" && v != "false" {
				return call.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It must be true or false.", v, attribute)
			}
			set(i, v == "true")
			return nil
		})
	}
	flag("EnaSupport", "enaSupport", true, func(i *store.Instance, v bool) { i.Image.EnaSupport = v })
	flag("DisableApiTermination", "disableApiTermination", false, func(i *store.Instance, v bool) { i.NoTermination = v })
	flag("DisableApiStop", "disableApiStop", false, func(i *store.Instance, v bool) { i.NoStop = v })
	flag("EbsOptimized", "ebsOptimized", true, func(i *store.Instance, v bool) { i.EbsOptimized = v })
	flag("SourceDestCheck", "sourceDestCheck", false, func(i *store.Instance, v bool) { i.NoSourceDestCheck = !v })
	text("SriovNetSupport", "sriovNetSupport", true, func(_ *store.Region, i *store.Instance, v string) error {
		if v != "simple" {
			return call.Errorf("InvalidParameterValue", "Value (%s) for parameter sriovNetSupport is invalid: it must be simple.", v)
		}
		i.Image.SriovNetSupport = v
		return nil
	})
	text("InstanceInitiatedShutdownBehavior", "instanceInitiatedShutdownBehavior", false, func(_ *store.Region, i *store.Instance, v string) error {
		if v != "stop" && v != "terminate" {
			return call.Errorf("InvalidParameterValue", "Value (%s) for parameter instanceInitiatedShutdownBehavior is invalid: it must be stop or terminate.", v)
		}
		i.ShutdownBehavior = v
		return nil
	})
	text("InstanceType", "instanceType", true, func(_ *store.Region, i *store.Instance, v string) error {
		i.InstanceType = v
		return checkType(v, i.Image)
	})
	text("UserData", "userData", true, func(_ *store.Region, i *store.Instance, v string) error {
		data, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(data) > maxUserData {
			return call.Errorf("InvalidUserData.Malformed", "User data must be base64 of at most %d bytes.", maxUserData)
		}
		i.UserData = data
		return nil
	})
	return append(out, p.listChanges()...)
}

// listChanges reads the changes of security groups and of the block device mapping.
func (p params) listChanges() []attributeChange {
	var out []attributeChange
	if ids := p.list("GroupId"); len(ids) > 0 {
		out = append(out, attributeChange{false, func(reg *store.Region, i *store.Instance) (err error) {
			i.Groups, err = launchGroups(reg, store.Subnet{ID: i.SubnetID, VPC: i.VPCID}, ids, nil)
			return err
		}})
	}
	devices := map[string]bool{}
	for _, d := range p.each("BlockDeviceMapping") {
		devices[d.need("DeviceName")] = d.flag("Ebs.DeleteOnTermination", true)
		d.ignore("Ebs.VolumeId")
	}
	if len(devices) == 0 {
		return out
	}
	return append(out, attributeChange{false, func(reg *store.Region, i *store.Instance) error {
		i.BlockDevices = slices.Clone(i.BlockDevices)
		for name, del := range devices {
			at := slices.IndexFunc(i.BlockDevices, func(d store.BlockDevice) bool { return d.DeviceName == name })
			if at < 0 {
				return call.Errorf("InvalidInstanceAttributeValue", "No device is currently mapped at %s", name)
			}
			i.BlockDevices[at].DeleteOnTermination = del
			v, ok := reg.Volumes.Get(i.BlockDevices[at].VolumeID)
			if !ok {
				continue
			}
			v.Attachment.DeleteOnTermination = del
			if err := reg.Volumes.Put(v); err != nil {
				return err
			}
		}
		return nil
	}})
}

type modifyMetadataReply struct {
	meta
	ID      string       `xml:"instanceId"`
	Options metadataItem `xml:"instanceMetadataOptions"`
}

// modifyMetadata changes the metadata options of the record. The service itself
// is version 2 in any case.
func (s *Service) modifyMetadata(r *request) (reply, error) {
	id := r.need("InstanceId")
	tokens, hops := r.oneOf("HttpTokens", "", "required", "optional"), r.number("HttpPutResponseHopLimit", 0, 1, 64)
	_ = r.oneOf("HttpEndpoint", "enabled", "enabled")
	_ = r.oneOf("HttpProtocolIpv6", "disabled", "disabled")
	out := &modifyMetadataReply{ID: id}
	_, err := s.do1(r, func(reg *store.Region) error {
		rows, err := findInstances(reg, []string{id})
		if err != nil {
			return err
		}
		i := rows[0]
		i.Metadata.HTTPTokens, i.Metadata.HopLimit = orText(tokens, i.Metadata.HTTPTokens), orNumber(hops, i.Metadata.HopLimit)
		out.Options = metadataOf(i)
		return reg.Instances.Put(i)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
