// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/netip"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type vpcReply struct {
	meta
	VPC vpcItem `xml:"vpc"`
}

type describeVPCsReply struct {
	meta
	VPCs      set[vpcItem] `xml:"vpcSet"`
	NextToken string       `xml:"nextToken,omitempty"`
}

type vpcItem struct {
	ID           string           `xml:"vpcId"`
	OwnerID      string           `xml:"ownerId"`
	State        string           `xml:"state"`
	CIDR         string           `xml:"cidrBlock"`
	Associations set[vpcCIDRItem] `xml:"cidrBlockAssociationSet"`
	DHCPOptions  string           `xml:"dhcpOptionsId"`
	Tenancy      string           `xml:"instanceTenancy"`
	Default      bool             `xml:"isDefault"`
	Tags         set[tagItem]     `xml:"tagSet"`
}

type vpcCIDRItem struct {
	ID    string `xml:"associationId"`
	CIDR  string `xml:"cidrBlock"`
	State string `xml:"cidrBlockState>state"`
}

func (s *Service) vpcItem(v store.VPC) vpcItem {
	return vpcItem{
		ID: v.ID, OwnerID: s.Account, State: "available", CIDR: v.CIDR, DHCPOptions: "default", Tenancy: "default", Default: v.Default,
		Associations: set[vpcCIDRItem]{[]vpcCIDRItem{{"vpc-cidr-assoc-" + v.ID[len("vpc-"):], v.CIDR, "associated"}}}, Tags: tagSet(v.Tags),
	}
}

func findVPC(reg *store.Region, id string) (store.VPC, error) {
	return finding(reg.VPCs, "vpc", "InvalidVpcID", "InvalidVpcID", "The vpc ID '%s' does not exist", id)
}

func defaultVPC(reg *store.Region) (store.VPC, bool) {
	for _, v := range reg.VPCs.All() {
		if v.Default {
			return v, true
		}
	}
	return store.VPC{}, false
}

// cidr reads a range of addresses of the sizes that AWS allows.
func (p params) cidr(name, code string) netip.Prefix {
	text := p.need(name)
	prefix, err := netip.ParsePrefix(text)
	switch {
	case text == "":
	case err != nil || !prefix.Addr().Is4():
		p.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", text, name))
	case prefix.Bits() < 16 || prefix.Bits() > 28:
		p.fail(call.Errorf(code+".Range", "The CIDR '%s' is invalid: it must be between /16 and /28.", text))
	}
	return prefix.Masked()
}

func (s *Service) createVPC(r *request) (reply, error) {
	cidr, tags := r.cidr("CidrBlock", "InvalidVpc"), r.tagSpecs("vpc")["vpc"]
	_ = r.oneOf("InstanceTenancy", "default", "default")
	if err := r.checked(); err != nil {
		return nil, err
	}
	vpc := store.VPC{ID: store.NewID("vpc"), CIDR: cidr.String(), Tags: tags, DNSSupport: true}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		table := store.RouteTable{
			ID: store.NewID("rtb"), VPC: vpc.ID, Subnets: []store.Association{{ID: store.NewID("rtbassoc"), Main: true}},
			Routes: []store.Route{{CIDR: vpc.CIDR, Gateway: "local"}},
		}
		for _, put := range []error{reg.VPCs.Put(vpc), reg.RouteTables.Put(table), reg.SecurityGroups.Put(store.DefaultGroup(vpc.ID, store.NewID("sg")))} {
			if put != nil {
				return put
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &vpcReply{VPC: s.vpcItem(vpc)}, nil
}

func (s *Service) createDefaultVPC(r *request) (reply, error) {
	if err := r.checked(); err != nil {
		return nil, err
	}
	var vpc store.VPC
	err := s.Store.Update(r.Region, func(reg *store.Region) (err error) {
		if _, ok := defaultVPC(reg); ok {
			return call.Errorf("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
		}
		vpc, err = reg.MakeDefaultNetwork()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &vpcReply{VPC: s.vpcItem(vpc)}, nil
}

func (s *Service) describeVPCs(r *request) (reply, error) {
	type vpc = store.VPC
	rows, next, err := describe(s, r, kind[vpc]{
		ids: "VpcId", prefix: "vpc", code: "InvalidVpcID", absent: "The vpc ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) []vpc { return reg.VPCs.All() },
		id:  func(v vpc) string { return v.ID },
		attrs: attributes[vpc]{
			tags: func(v vpc) map[string]string { return v.Tags },
			fields: map[string]func(vpc) []string{
				"vpc-id":                            only(func(v vpc) string { return v.ID }),
				"cidr":                              only(func(v vpc) string { return v.CIDR }),
				"cidr-block-association.cidr-block": only(func(v vpc) string { return v.CIDR }),
				"is-default":                        boolText(func(v vpc) bool { return v.Default }),
				"isDefault":                         boolText(func(v vpc) bool { return v.Default }),
				"owner-id":                          only(func(vpc) string { return s.Account }),
				"state":                             only(func(vpc) string { return "available" }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &describeVPCsReply{NextToken: next}
	for _, v := range rows {
		out.VPCs.Items = append(out.VPCs.Items, s.vpcItem(v))
	}
	return out, nil
}

type vpcAttributeReply struct {
	meta
	ID           string    `xml:"vpcId"`
	DNSSupport   *boolItem `xml:"enableDnsSupport"`
	DNSHostnames *boolItem `xml:"enableDnsHostnames"`
}

// boolItem is EC2's AttributeBooleanValue.
type boolItem struct {
	Value bool `xml:"value"`
}

func (s *Service) describeVPCAttribute(r *request) (reply, error) {
	id, name := r.need("VpcId"), r.oneOf("Attribute", "", "enableDnsSupport", "enableDnsHostnames")
	if name == "" {
		r.fail(missing("Attribute"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &vpcAttributeReply{ID: id}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		vpc, err := findVPC(reg, id)
		if name == "enableDnsSupport" {
			out.DNSSupport = &boolItem{vpc.DNSSupport}
		} else {
			out.DNSHostnames = &boolItem{vpc.DNSHostnames}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) modifyVPCAttribute(r *request) (reply, error) {
	id, support, names := r.need("VpcId"), r.str("EnableDnsSupport.Value"), r.str("EnableDnsHostnames.Value")
	return s.do1(r, func(reg *store.Region) error {
		vpc, err := findVPC(reg, id)
		if err != nil {
			return err
		}
		if support != "" {
			vpc.DNSSupport, err = strconv.ParseBool(support)
		}
		if names != "" && err == nil {
			vpc.DNSHostnames, err = strconv.ParseBool(names)
		}
		if err != nil {
			return call.Errorf("InvalidParameterValue", "The attribute must be true or false: %v", err)
		}
		return reg.VPCs.Put(vpc)
	})
}

// do1 checks a request, lets f change the region, and answers that it is done.
func (s *Service) do1(r *request, f func(*store.Region) error) (reply, error) {
	if err := r.checked(); err != nil {
		return nil, err
	}
	if err := s.Store.Update(r.Region, f); err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}

// deleteVPC removes a VPC with its default group and main route table. All else
// has to be gone.
func (s *Service) deleteVPC(r *request) (reply, error) {
	id := r.need("VpcId")
	return s.do1(r, func(reg *store.Region) error {
		if _, err := findVPC(reg, id); err != nil {
			return err
		}
		if user := vpcUser(reg, id); user != "" {
			return call.Errorf("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted: %s is in it.", id, user)
		}
		for _, g := range reg.SecurityGroups.All() {
			if g.VPC == id {
				if err := reg.SecurityGroups.Delete(g.ID); err != nil {
					return err
				}
			}
		}
		for _, t := range reg.RouteTables.All() {
			if t.VPC == id {
				if err := reg.RouteTables.Delete(t.ID); err != nil {
					return err
				}
			}
		}
		return reg.VPCs.Delete(id)
	})
}

// vpcUser names something that keeps a VPC from being deleted, "" for nothing.
func vpcUser(reg *store.Region, id string) string {
	for _, v := range reg.Subnets.All() {
		if v.VPC == id {
			return v.ID
		}
	}
	for _, g := range reg.SecurityGroups.All() {
		if g.VPC == id && g.Name != "default" {
			return g.ID
		}
	}
	for _, g := range reg.Gateways.All() {
		if g.VPC == id {
			return g.ID
		}
	}
	for _, t := range reg.RouteTables.All() {
		if t.VPC == id && !isMain(t) {
			return t.ID
		}
	}
	return ""
}
