// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// createRoute adds a route to an internet gateway, the only target there is.
func (s *Service) createRoute(r *request) (reply, error) {
	id, cidr, gateway := r.need("RouteTableId"), r.destination(), r.need("GatewayId")
	return s.do1(r, func(reg *store.Region) error {
		t, err := findRouteTable(reg, id)
		if err != nil {
			return err
		}
		g, err := findGateway(reg, gateway)
		switch {
		case err != nil:
			return err
		case g.VPC != t.VPC:
			return call.Errorf("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", id, gateway)
		case slices.ContainsFunc(t.Routes, func(o store.Route) bool { return o.CIDR == cidr }):
			return call.Errorf("RouteAlreadyExists", "The route identified by %s already exists.", cidr)
		}
		t.Routes = append(slices.Clone(t.Routes), store.Route{CIDR: cidr, Gateway: gateway})
		return reg.RouteTables.Put(t)
	})
}

func (s *Service) deleteRoute(r *request) (reply, error) {
	id, cidr := r.need("RouteTableId"), r.destination()
	return s.do1(r, func(reg *store.Region) error {
		t, err := findRouteTable(reg, id)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(t.Routes, func(o store.Route) bool { return o.CIDR == cidr })
		switch {
		case at < 0:
			return call.Errorf("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", cidr, id)
		case t.Routes[at].Gateway == "local":
			return call.Errorf("InvalidParameterValue", "cannot remove local route %s in route table %s", cidr, id)
		}
		t.Routes = slices.Delete(slices.Clone(t.Routes), at, at+1)
		return reg.RouteTables.Put(t)
	})
}

type associateReply struct {
	meta
	ID    string `xml:"associationId"`
	State string `xml:"associationState>state"`
}

func (s *Service) associateRouteTable(r *request) (reply, error) {
	id, subnetID := r.need("RouteTableId"), r.need("SubnetId")
	out := &associateReply{ID: store.NewID("rtbassoc"), State: "associated"}
	_, err := s.do1(r, func(reg *store.Region) error {
		t, err := findRouteTable(reg, id)
		if err != nil {
			return err
		}
		subnet, err := findSubnet(reg, subnetID)
		if err != nil {
			return err
		}
		if subnet.VPC != t.VPC {
			return call.Errorf("InvalidParameterValue", "Route table %s and subnet %s belong to different networks", id, subnetID)
		}
		for _, other := range reg.RouteTables.All() {
			for _, a := range other.Subnets {
				switch {
				case a.Subnet == subnetID && other.ID == id:
					out.ID = a.ID // said again
					return nil
				case a.Subnet == subnetID:
					return call.Errorf("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", id)
				}
			}
		}
		t.Subnets = append(slices.Clone(t.Subnets), store.Association{ID: out.ID, Subnet: subnetID})
		return reg.RouteTables.Put(t)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) disassociateRouteTable(r *request) (reply, error) {
	id := r.need("AssociationId")
	return s.do1(r, func(reg *store.Region) error {
		for _, t := range reg.RouteTables.All() {
			at := slices.IndexFunc(t.Subnets, func(a store.Association) bool { return a.ID == id })
			switch {
			case at < 0:
				continue
			case t.Subnets[at].Main:
				return call.Errorf("InvalidParameterValue", "cannot disassociate the main route table association %s", id)
			}
			t.Subnets = slices.Delete(slices.Clone(t.Subnets), at, at+1)
			return reg.RouteTables.Put(t)
		}
		return call.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
	})
}

func (s *Service) deleteRouteTable(r *request) (reply, error) {
	id := r.need("RouteTableId")
	return s.do1(r, func(reg *store.Region) error {
		t, err := findRouteTable(reg, id)
		if err != nil {
			return err
		}
		if len(t.Subnets) > 0 {
			return call.Errorf("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", id)
		}
		return reg.RouteTables.Delete(id)
	})
}
