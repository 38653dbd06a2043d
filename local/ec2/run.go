// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// maxUserData is the limit before base64, from the EC2 user guide.
const maxUserData = 16 << 10

// maxCount keeps a slip of the keyboard from filling the host with machines.
const maxCount = 20

// launch is a RunInstances request after reading.
type launch struct {
	min, max int64
	template store.Instance
	devices  []store.BlockDevice
}

// runInstances records the instances as pending and hands them to the fleet.
func (s *Service) runInstances(r *request) (reply, error) {
	req := s.readLaunch(r)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var launched []store.Instance
	repeated := false
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		var err error
		if launched, err = repeatedLaunch(reg, req.template); err != nil || len(launched) > 0 {
			repeated = true
			return err
		}
		if err := s.checkLaunch(reg, &req); err != nil {
			return err
		}
		for i := range req.max {
			inst := req.template
			inst.ID, inst.LaunchIndex = store.NewID("i"), int(i)
			inst.BlockDevices = slices.Clone(req.devices)
			for d := range inst.BlockDevices {
				inst.BlockDevices[d].VolumeID = store.NewID("vol")
			}
			if err := reg.Instances.Put(inst); err != nil {
				return err
			}
			launched = append(launched, inst)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, inst := range launched {
		if !repeated {
			s.Fleet.Launch(r.Region, inst.ID)
		}
	}
	return &runInstancesReply{reservationItem: s.reservation(launched)}, nil
}

// readLaunch reads the parameters. Those that have no meaning on one machine
// without a network of its own are accepted and left out.
func (s *Service) readLaunch(r *request) launch {
	for _, name := range []string{"ImageId", "MinCount", "MaxCount"} {
		if !r.has(name) {
			r.fail(missing(name))
		}
	}
	req := launch{
		min: r.number("MinCount", 1, 1, 1<<31), max: r.number("MaxCount", 1, 1, maxCount),
		devices: r.blockDevices(),
	}
	if req.min > req.max {
		r.fail(call.Errorf("InvalidParameterValue", "MinCount (%d) must not be greater than MaxCount (%d).", req.min, req.max))
	}
	specs := r.tagSpecs("instance", "volume", "network-interface")
	zone := r.or("Placement.AvailabilityZone", r.Region+"a")
	if !slices.Contains(zones(r.Region), zone) {
		r.fail(call.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", zone))
	}
	inst := store.Instance{
		ReservationID: store.NewID("r"), ImageID: r.str("ImageId"), InstanceType: r.or("InstanceType", "m1.small"),
		State: store.InstancePending, LaunchTime: s.Store.Now().UTC(), KeyName: r.str("KeyName"), Zone: zone,
		SubnetID: r.str("SubnetId"), Tags: specs["instance"], UserData: r.userData(),
		ShutdownBehavior: r.oneOf("InstanceInitiatedShutdownBehavior", "stop", "stop", "terminate"),
		Metadata: store.MetadataOptions{
			HTTPTokens:   r.oneOf("MetadataOptions.HttpTokens", "", "required", "optional"),
			HTTPEndpoint: r.oneOf("MetadataOptions.HttpEndpoint", "enabled", "enabled"),
			HopLimit:     r.number("MetadataOptions.HttpPutResponseHopLimit", 0, 1, 64),
			InstanceTags: r.oneOf("MetadataOptions.InstanceMetadataTags", "disabled", "disabled", "enabled"),
		},
		ClientToken: r.str("ClientToken"),
	}
	for _, id := range r.list("SecurityGroupId") {
		inst.Groups = append(inst.Groups, store.Group{ID: id, Name: id})
	}
	for _, name := range r.list("SecurityGroup") {
		inst.Groups = append(inst.Groups, store.Group{Name: name})
	}
	for _, nic := range r.each("NetworkInterface") {
		inst.SubnetID = nic.or("SubnetId", inst.SubnetID)
		for _, id := range nic.list("SecurityGroupId") {
			inst.Groups = append(inst.Groups, store.Group{ID: id, Name: id})
		}
		nic.ignore("DeviceIndex", "AssociatePublicIpAddress", "DeleteOnTermination", "Description")
	}
	r.ignore("Monitoring", "EbsOptimized", "CreditSpecification", "IamInstanceProfile", "Placement.Tenancy", "MaintenanceOptions", "PrivateDnsNameOptions")
	inst.RequestHash = requestHash(r)
	req.template = inst
	return req
}

// userData decodes the base64 of the parameter.
func (p params) userData() []byte {
	text := p.str("UserData")
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		p.fail(call.Errorf("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))
	}
	if len(data) > maxUserData {
		p.fail(call.Errorf("InvalidParameterValue", "User data is limited to %d bytes", maxUserData))
	}
	return data
}

// requestHash recognises a repeated request with the same client token.
func requestHash(r *request) string {
	form, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return ""
	}
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(form)) {
		if !strings.HasPrefix(k, "AWS") && k != "Timestamp" {
			fmt.Fprintf(h, "%q=%q\n", k, form[k])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// repeatedLaunch returns the instances that an earlier request with the same
// client token has launched.
func repeatedLaunch(reg *store.Region, want store.Instance) ([]store.Instance, error) {
	if want.ClientToken == "" {
		return nil, nil
	}
	var out []store.Instance
	for _, inst := range reg.Instances.All() {
		if inst.ClientToken != want.ClientToken {
			continue
		}
		if inst.RequestHash != want.RequestHash {
			return nil, call.Errorf("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
		}
		out = append(out, inst)
	}
	return out, nil
}

// checkLaunch holds the rules that need state, and completes the request.
func (s *Service) checkLaunch(reg *store.Region, req *launch) error {
	inst := &req.template
	img, err := s.usableImage(reg, inst.ImageID)
	if err != nil {
		return err
	}
	if err := checkType(inst.InstanceType, img); err != nil {
		return err
	}
	if why := s.Fleet.Supports(img.Architecture, img.BootMode); why != "" {
		return call.Errorf("UnsupportedOperation", "%s", why)
	}
	if err := fillKey(reg, inst); err != nil {
		return err
	}
	// An image that asks for IMDSv2 launches with it, and with a hop limit of 2.
	if img.ImdsSupport == "v2.0" {
		inst.Metadata.HTTPTokens = orText(inst.Metadata.HTTPTokens, "required")
		inst.Metadata.HopLimit = max(inst.Metadata.HopLimit, 2)
	}
	inst.Metadata.HTTPTokens = orText(inst.Metadata.HTTPTokens, "optional")
	inst.Metadata.HopLimit = max(inst.Metadata.HopLimit, 1)
	inst.Image = img
	devices, err := mergeDevices(img, req.devices)
	if err != nil {
		return err
	}
	req.devices = devices
	return s.fillDevices(reg, req.devices)
}

func orText(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

func checkType(name string, img store.Image) error {
	t, ok := lookupType(name)
	switch {
	case !ok:
		return call.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", name)
	case img.VirtualizationType != "hvm":
		return call.Errorf("InvalidParameterCombination", "The virtualization type '%s' of %s is not supported by the instance type '%s'. Register the image with VirtualizationType hvm.", img.VirtualizationType, img.ID, name)
	case t.architecture != img.Architecture:
		return call.Errorf("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", t.architecture, img.Architecture)
	case t.needsENA && !img.EnaSupport:
		return call.Errorf("InvalidParameterCombination", "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '%s' instance type. Ensure that you are using an AMI that is enabled for ENA.", name)
	}
	return nil
}

func fillKey(reg *store.Region, inst *store.Instance) error {
	if inst.KeyName == "" {
		return nil
	}
	for _, k := range reg.KeyPairs.All() {
		if k.Name == inst.KeyName {
			inst.PublicKey = k.PublicKey
			return nil
		}
	}
	return call.Errorf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", inst.KeyName)
}

// mergeDevices lays the mapping of the launch over that of the image.
func mergeDevices(img store.Image, over []store.BlockDevice) ([]store.BlockDevice, error) {
	out := slices.Clone(img.BlockDevices)
	for _, d := range over {
		at := slices.IndexFunc(out, func(o store.BlockDevice) bool { return o.DeviceName == d.DeviceName })
		switch {
		case at < 0 || d.DeviceName != img.RootDeviceName:
			return nil, call.Errorf("UnsupportedOperation", "The local cloud gives instances their root device only; it cannot map %s (the root device of %s is %s).", d.DeviceName, img.ID, img.RootDeviceName)
		case d.NoDevice || d.VirtualName != "" || d.SnapshotID != "" && d.SnapshotID != out[at].SnapshotID:
			return nil, call.Errorf("InvalidBlockDeviceMapping", "The root device %s cannot be removed or get another snapshot.", d.DeviceName)
		}
		d.SnapshotID = out[at].SnapshotID
		d.VolumeType = orText(d.VolumeType, out[at].VolumeType)
		if d.SizeGiB == 0 {
			d.SizeGiB = out[at].SizeGiB
		}
		out[at] = d
	}
	return out, nil
}
