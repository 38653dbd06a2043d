// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/netip"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type gatewayReply struct {
	meta
	Gateway gatewayItem `xml:"internetGateway"`
}

type describeGatewaysReply struct {
	meta
	Gateways  set[gatewayItem] `xml:"internetGatewaySet"`
	NextToken string           `xml:"nextToken,omitempty"`
}

type gatewayItem struct {
	ID          string                     `xml:"internetGatewayId"`
	OwnerID     string                     `xml:"ownerId"`
	Attachments set[gatewayAttachmentItem] `xml:"attachmentSet"`
	Tags        set[tagItem]               `xml:"tagSet"`
}

type gatewayAttachmentItem struct {
	VPC   string `xml:"vpcId"`
	State string `xml:"state"`
}

func (s *Service) gatewayItem(g store.InternetGateway) gatewayItem {
	item := gatewayItem{ID: g.ID, OwnerID: s.Account, Tags: tagSet(g.Tags)}
	if g.VPC != "" {
		item.Attachments.Items = []gatewayAttachmentItem{{g.VPC, "available"}}
	}
	return item
}

func findGateway(reg *store.Region, id string) (store.InternetGateway, error) {
	return finding(reg.Gateways, "igw", "InvalidInternetGatewayID", "InvalidInternetGatewayId", "The internetGateway ID '%s' does not exist", id)
}

func (s *Service) createGateway(r *request) (reply, error) {
	g := store.InternetGateway{ID: store.NewID("igw"), Tags: r.tagSpecs("internet-gateway")["internet-gateway"]}
	if _, err := s.do1(r, func(reg *store.Region) error { return reg.Gateways.Put(g) }); err != nil {
		return nil, err
	}
	return &gatewayReply{Gateway: s.gatewayItem(g)}, nil
}

func (s *Service) attachGateway(r *request) (reply, error) {
	id, vpc := r.need("InternetGatewayId"), r.need("VpcId")
	return s.do1(r, func(reg *store.Region) error {
		g, err := findGateway(reg, id)
		if err != nil {
			return err
		}
		if _, err := findVPC(reg, vpc); err != nil {
			return err
		}
		if g.VPC != "" {
			return call.Errorf("Resource.AlreadyAssociated", "resource %s is already attached to network %s", id, g.VPC)
		}
		for _, other := range reg.Gateways.All() {
			if other.VPC == vpc {
				return call.Errorf("InvalidParameterValue", "Network %s already has an internet gateway attached", vpc)
			}
		}
		g.VPC = vpc
		return reg.Gateways.Put(g)
	})
}

func (s *Service) detachGateway(r *request) (reply, error) {
	id, vpc := r.need("InternetGatewayId"), r.need("VpcId")
	return s.do1(r, func(reg *store.Region) error {
		g, err := findGateway(reg, id)
		if err != nil {
			return err
		}
		if _, err := findVPC(reg, vpc); err != nil {
			return err
		}
		if g.VPC != vpc {
			return call.Errorf("Gateway.NotAttached", "resource %s is not attached to network %s", id, vpc)
		}
		for _, i := range reg.Instances.All() {
			if i.VPCID == vpc && i.PublicIP != "" {
				return call.Errorf("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", vpc)
			}
		}
		g.VPC = ""
		return reg.Gateways.Put(g)
	})
}

func (s *Service) describeGateways(r *request) (reply, error) {
	type igw = store.InternetGateway
	rows, next, err := describe(s, r, kind[igw]{
		ids: "InternetGatewayId", prefix: "igw", code: "InvalidInternetGatewayID", malformed: "InvalidInternetGatewayId",
		absent: "The internetGateway ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) []igw { return reg.Gateways.All() },
		id:  func(g igw) string { return g.ID },
		attrs: attributes[igw]{
			tags: func(g igw) map[string]string { return g.Tags },
			fields: map[string]func(igw) []string{
				"internet-gateway-id": only(func(g igw) string { return g.ID }),
				"attachment.vpc-id":   only(func(g igw) string { return g.VPC }),
				"attachment.state": func(g igw) []string {
					if g.VPC == "" {
						return nil
					}
					return []string{"available"}
				},
				"owner-id": only(func(igw) string { return s.Account }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &describeGatewaysReply{NextToken: next}
	for _, g := range rows {
		out.Gateways.Items = append(out.Gateways.Items, s.gatewayItem(g))
	}
	return out, nil
}

func (s *Service) deleteGateway(r *request) (reply, error) {
	id := r.need("InternetGatewayId")
	return s.do1(r, func(reg *store.Region) error {
		g, err := findGateway(reg, id)
		if err != nil {
			return err
		}
		if g.VPC != "" {
			return call.Errorf("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted: it is attached to %s.", id, g.VPC)
		}
		return reg.Gateways.Delete(id)
	})
}

type routeTableReply struct {
	meta
	Table routeTableItem `xml:"routeTable"`
}

type describeRouteTablesReply struct {
	meta
	Tables    set[routeTableItem] `xml:"routeTableSet"`
	NextToken string              `xml:"nextToken,omitempty"`
}

type routeTableItem struct {
	ID           string               `xml:"routeTableId"`
	VPC          string               `xml:"vpcId"`
	OwnerID      string               `xml:"ownerId"`
	Routes       set[routeItem]       `xml:"routeSet"`
	Associations set[associationItem] `xml:"associationSet"`
	Tags         set[tagItem]         `xml:"tagSet"`
}

type routeItem struct {
	CIDR    string `xml:"destinationCidrBlock"`
	Gateway string `xml:"gatewayId"`
	State   string `xml:"state"`
	Origin  string `xml:"origin"`
}

type associationItem struct {
	ID     string `xml:"routeTableAssociationId"`
	Table  string `xml:"routeTableId"`
	Subnet string `xml:"subnetId,omitempty"`
	Main   bool   `xml:"main"`
	State  string `xml:"associationState>state"`
}

func (s *Service) routeTableItem(t store.RouteTable) routeTableItem {
	item := routeTableItem{ID: t.ID, VPC: t.VPC, OwnerID: s.Account, Tags: tagSet(t.Tags)}
	for _, route := range t.Routes {
		origin := "CreateRoute"
		if route.Gateway == "local" {
			origin = "CreateRouteTable"
		}
		item.Routes.Items = append(item.Routes.Items, routeItem{route.CIDR, route.Gateway, "active", origin})
	}
	for _, a := range t.Subnets {
		item.Associations.Items = append(item.Associations.Items, associationItem{a.ID, t.ID, a.Subnet, a.Main, "associated"})
	}
	return item
}

func isMain(t store.RouteTable) bool {
	return slices.ContainsFunc(t.Subnets, func(a store.Association) bool { return a.Main })
}

func findRouteTable(reg *store.Region, id string) (store.RouteTable, error) {
	return finding(reg.RouteTables, "rtb", "InvalidRouteTableID", "InvalidRouteTableId", "The routeTable ID '%s' does not exist", id)
}

func (s *Service) createRouteTable(r *request) (reply, error) {
	t := store.RouteTable{ID: store.NewID("rtb"), VPC: r.need("VpcId"), Tags: r.tagSpecs("route-table")["route-table"], ClientToken: r.str("ClientToken")}
	if _, err := s.do1(r, func(reg *store.Region) error {
		vpc, err := findVPC(reg, t.VPC)
		if err != nil {
			return err
		}
		for _, other := range reg.RouteTables.All() {
			if t.ClientToken != "" && other.ClientToken == t.ClientToken {
				t = other
				return nil
			}
		}
		t.Routes = []store.Route{{CIDR: vpc.CIDR, Gateway: "local"}}
		return reg.RouteTables.Put(t)
	}); err != nil {
		return nil, err
	}
	return &routeTableReply{Table: s.routeTableItem(t)}, nil
}

func (s *Service) describeRouteTables(r *request) (reply, error) {
	type table = store.RouteTable
	association := func(f func(store.Association) string) func(table) []string {
		return func(t table) (out []string) {
			for _, a := range t.Subnets {
				out = append(out, f(a))
			}
			return out
		}
	}
	rows, next, err := describe(s, r, kind[table]{
		ids: "RouteTableId", prefix: "rtb", code: "InvalidRouteTableID", malformed: "InvalidRouteTableId",
		absent: "The routeTable ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) []table { return reg.RouteTables.All() },
		id:  func(t table) string { return t.ID },
		attrs: attributes[table]{
			tags: func(t table) map[string]string { return t.Tags },
			fields: map[string]func(table) []string{
				"route-table-id":                         only(func(t table) string { return t.ID }),
				"vpc-id":                                 only(func(t table) string { return t.VPC }),
				"owner-id":                               only(func(table) string { return s.Account }),
				"association.main":                       boolText(isMain),
				"association.subnet-id":                  association(func(a store.Association) string { return a.Subnet }),
				"association.route-table-association-id": association(func(a store.Association) string { return a.ID }),
				"route.gateway-id": func(t table) (out []string) {
					for _, route := range t.Routes {
						out = append(out, route.Gateway)
					}
					return out
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &describeRouteTablesReply{NextToken: next}
	for _, t := range rows {
		out.Tables.Items = append(out.Tables.Items, s.routeTableItem(t))
	}
	return out, nil
}

// destination reads a range of addresses of any size.
func (p params) destination() string {
	text := p.need("DestinationCidrBlock")
	prefix, err := netip.ParsePrefix(text)
	if text != "" && (err != nil || !prefix.Addr().Is4()) {
		p.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.", text))
	}
	return prefix.Masked().String()
}
