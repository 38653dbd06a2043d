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
	// volumeTags go to each volume.
	volumeTags map[string]string
	// zone is empty when the request names none.
	zone string
	// groupIDs and groupNames are the security groups; none: the VPC's default one.
	groupIDs, groupNames []string
	// publicIP is what the request says of a public address; nil: the subnet decides.
	publicIP *bool
	// profile is the name or the ARN of an instance profile.
	profile string
	// spot asks for a spot instance.
	spot bool
}

// runInstances records the instances as pending and hands them to the fleet.
func (s *Service) runInstances(r *request) (reply, error) {
	r, err := s.withTemplate(r)
	if err != nil {
		return nil, err
	}
	req := s.readLaunch(r)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var launched []store.Instance
	repeated := false
	err = s.Store.Update(r.Region, func(reg *store.Region) error {
		var err error
		if launched, err = repeatedLaunch(reg, req.template); err != nil || len(launched) > 0 {
			repeated = true
			return err
		}
		launched, err = s.launch(reg, req)
		return err
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

// readLaunch reads the parameters. Those that have no meaning on one machine are
// accepted and left out.
func (s *Service) readLaunch(r *request) launch {
	for _, name := range []string{"ImageId", "MinCount", "MaxCount"} {
		if !r.has(name) {
			r.fail(missing(name))
		}
	}
	req := launch{
		min: r.number("MinCount", 1, 1, 1<<31), max: r.number("MaxCount", 1, 1, maxCount),
		devices: r.blockDevices(), zone: r.str("Placement.AvailabilityZone"),
		profile: r.or("IamInstanceProfile.Arn", r.str("IamInstanceProfile.Name")),
	}
	if req.min > req.max {
		r.fail(call.Errorf("InvalidParameterValue", "MinCount (%d) must not be greater than MaxCount (%d).", req.min, req.max))
	}
	specs := r.tagSpecs("instance", "volume", "network-interface", "spot-instances-request")
	req.volumeTags = specs["volume"]
	req.template = store.Instance{
		ReservationID: store.NewID("r"), ImageID: r.str("ImageId"), InstanceType: r.or("InstanceType", "m1.small"),
		State: store.InstancePending, LaunchTime: s.Store.Now().UTC(), KeyName: r.str("KeyName"),
		SubnetID: r.str("SubnetId"), Tags: specs["instance"], InterfaceTags: specs["network-interface"],
		SpotTags: specs["spot-instances-request"], UserData: r.userData(),
		ShutdownBehavior: r.oneOf("InstanceInitiatedShutdownBehavior", "stop", "stop", "terminate"),
		NoTermination:    r.flag("DisableApiTermination", false), NoStop: r.flag("DisableApiStop", false),
		EbsOptimized: r.flag("EbsOptimized", false), Monitoring: r.flag("Monitoring.Enabled", false),
		Metadata: store.MetadataOptions{
			HTTPTokens:   r.oneOf("MetadataOptions.HttpTokens", "", "required", "optional"),
			HTTPEndpoint: r.oneOf("MetadataOptions.HttpEndpoint", "enabled", "enabled"),
			HopLimit:     r.number("MetadataOptions.HttpPutResponseHopLimit", 0, 1, 64),
			InstanceTags: r.oneOf("MetadataOptions.InstanceMetadataTags", "disabled", "disabled", "enabled"),
		},
		ClientToken: r.str("ClientToken"), RequestHash: requestHash(r),
	}
	r.readInterface(&req)
	r.readMarket(&req)
	_ = r.oneOf("Placement.Tenancy", "default", "default")
	// Nothing is reserved, so that "open" finds nothing, as "none" does.
	_ = r.oneOf("CapacityReservationSpecification.CapacityReservationPreference", "open", "open", "none")
	_ = r.oneOf("EnclaveOptions.Enabled", "false", "false")
	_ = r.oneOf("MetadataOptions.HttpProtocolIpv6", "disabled", "disabled")
	r.ignore("CreditSpecification", "MaintenanceOptions", "PrivateDnsNameOptions")
	return req
}

// readInterface reads where the instance is in the network, which a request may
// say of the instance or of its one network interface.
func (p params) readInterface(req *launch) {
	req.groupIDs, req.groupNames = p.list("SecurityGroupId"), p.list("SecurityGroup")
	nics := p.each("NetworkInterface")
	if len(nics) == 0 {
		return
	}
	if len(nics) > 1 {
		p.fail(call.Errorf("UnsupportedOperation", "The local cloud gives instances one network interface."))
	}
	if req.template.SubnetID != "" || len(req.groupIDs)+len(req.groupNames) > 0 {
		p.fail(call.Errorf("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request"))
	}
	nic := nics[0]
	if nic.number("DeviceIndex", 0, 0, 14) != 0 {
		p.fail(call.Errorf("InvalidParameterValue", "The first network interface must have the device index 0."))
	}
	req.template.SubnetID, req.groupIDs = nic.str("SubnetId"), nic.list("SecurityGroupId")
	if nic.str("AssociatePublicIpAddress") != "" {
		public := nic.flag("AssociatePublicIpAddress", false)
		req.publicIP = &public
	}
	nic.ignore("DeviceIndex", "DeleteOnTermination", "Description", "InterfaceType")
}

// readMarket reads whether a spot instance is wanted. There is always room for
// one, at any price, and nobody interrupts it.
func (p params) readMarket(req *launch) {
	req.spot = p.oneOf("InstanceMarketOptions.MarketType", "", "spot") == "spot"
	_ = p.oneOf("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time", "one-time")
	_ = p.oneOf("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate", "terminate")
	p.ignore("InstanceMarketOptions.SpotOptions.MaxPrice", "InstanceMarketOptions.SpotOptions.BlockDurationMinutes")
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
