// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// VPC is a network. There are no packets in it: it is what instances, groups and
// subnets belong to.
type VPC struct {
	ID      string            `json:"id"`
	CIDR    string            `json:"cidr"`
	Default bool              `json:"default,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// DNSSupport and DNSHostnames are attributes that are kept and shown.
	DNSSupport   bool `json:"dns_support"`
	DNSHostnames bool `json:"dns_hostnames"`
}

// Subnet is the part of a VPC in one zone.
type Subnet struct {
	ID   string `json:"id"`
	VPC  string `json:"vpc"`
	CIDR string `json:"cidr"`
	Zone string `json:"zone"`
	// Default is the zone's subnet for launches that name none.
	Default bool `json:"default,omitempty"`
	// PublicIP gives instances a public address when the launch does not say.
	PublicIP bool              `json:"public_ip"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// SecurityGroup holds rules that nobody enforces: the local cloud has no packet
// filter.
type SecurityGroup struct {
	ID          string            `json:"id"`
	VPC         string            `json:"vpc"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Rules       []Rule            `json:"rules,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Rule is one rule of a security group with one source or destination.
type Rule struct {
	ID          string            `json:"id"`
	Egress      bool              `json:"egress,omitempty"`
	Protocol    string            `json:"protocol"`
	From        int64             `json:"from"`
	To          int64             `json:"to"`
	CIDR        string            `json:"cidr,omitempty"`
	CIDR6       string            `json:"cidr6,omitempty"`
	PrefixList  string            `json:"prefix_list,omitempty"`
	Group       string            `json:"group,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// InternetGateway is a door of a VPC, or of none.
type InternetGateway struct {
	ID   string            `json:"id"`
	VPC  string            `json:"vpc,omitempty"`
	Tags map[string]string `json:"tags,omitempty"`
}

// RouteTable says where packets would go.
type RouteTable struct {
	ID      string            `json:"id"`
	VPC     string            `json:"vpc"`
	Routes  []Route           `json:"routes,omitempty"`
	Subnets []Association     `json:"subnets,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// ClientToken recognises a repeated CreateRouteTable.
	ClientToken string `json:"client_token,omitempty"`
}

// Route leads one range of addresses to a gateway ("local" inside of the VPC).
type Route struct {
	CIDR    string `json:"cidr"`
	Gateway string `json:"gateway"`
}

// Association makes a table the one of a subnet, or with Main that of all
// subnets of the VPC that have none.
type Association struct {
	ID     string `json:"id"`
	Subnet string `json:"subnet,omitempty"`
	Main   bool   `json:"main,omitempty"`
}

func (v VPC) key() string               { return v.ID }
func (VPC) made() time.Time             { return time.Time{} }
func (s Subnet) key() string            { return s.ID }
func (Subnet) made() time.Time          { return time.Time{} }
func (g SecurityGroup) key() string     { return g.ID }
func (SecurityGroup) made() time.Time   { return time.Time{} }
func (g InternetGateway) key() string   { return g.ID }
func (InternetGateway) made() time.Time { return time.Time{} }
func (t RouteTable) key() string        { return t.ID }
func (RouteTable) made() time.Time      { return time.Time{} }

// Zones of a region: three, as most have.
func Zones(region string) []string { return []string{region + "a", region + "b", region + "c"} }

// DefaultCIDR is the default network: loopback addresses, so that those of its
// instances lead to their machines from this host.
const DefaultCIDR = "127.86.0.0/16"

// networkMark says that the default network was made: whoever deletes it does
// not find it again at the next start.
const networkMark = "default-network"

// seedNetwork makes the default network of a region at its first use.
func (r *Region) seedNetwork(dir string) error {
	if r.Name == Global {
		return nil
	}
	mark := filepath.Join(dir, networkMark)
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := r.MakeDefaultNetwork(); err != nil {
		return fmt.Errorf("make default network: %w", err)
	}
	return atomicfile.Write(mark, nil, 0o600)
}

// MakeDefaultNetwork makes the default VPC with a subnet in each zone, a gateway
// with a route to it, and the default security group. The ids follow from the
// region's name. The caller is inside Update.
func (r *Region) MakeDefaultNetwork() (VPC, error) {
	id := func(prefix string) string { return fixedID(prefix, r.Name) }
	vpc := VPC{ID: id("vpc"), CIDR: DefaultCIDR, Default: true, DNSSupport: true, DNSHostnames: true}
	igw := InternetGateway{ID: id("igw"), VPC: vpc.ID}
	table := RouteTable{
		ID: id("rtb"), VPC: vpc.ID, Subnets: []Association{{ID: id("rtbassoc"), Main: true}},
		Routes: []Route{{CIDR: vpc.CIDR, Gateway: "local"}, {CIDR: "0.0.0.0/0", Gateway: igw.ID}},
	}
	errs := []error{r.VPCs.Put(vpc), r.Gateways.Put(igw), r.RouteTables.Put(table), r.SecurityGroups.Put(DefaultGroup(vpc.ID, id("sg")))}
	for i, zone := range Zones(r.Name) {
		errs = append(errs, r.Subnets.Put(Subnet{
			ID: fixedID("subnet", zone), VPC: vpc.ID, CIDR: fmt.Sprintf("127.86.%d.0/20", i*16), Zone: zone, Default: true, PublicIP: true,
		}))
	}
	return vpc, errors.Join(errs...)
}

// DefaultGroup is the security group that every VPC has: its members reach each
// other, and everything outside.
func DefaultGroup(vpc, id string) SecurityGroup {
	return SecurityGroup{ID: id, VPC: vpc, Name: "default", Description: "default VPC security group", Rules: []Rule{
		{ID: NewID("sgr"), Protocol: "-1", From: -1, To: -1, Group: id}, AllowAll(),
	}}
}

// AllowAll is the rule for outgoing traffic that every new group has.
func AllowAll() Rule {
	return Rule{ID: NewID("sgr"), Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: "0.0.0.0/0"}
}

// fixedID is an id that follows from a name.
func fixedID(prefix, name string) string {
	sum := sha256.Sum256([]byte(prefix + " " + name))
	return prefix + "-0" + hex.EncodeToString(sum[:8])
}
