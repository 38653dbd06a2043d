// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/netip"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// ipPermissionItem holds the rules of a group that differ in their other end only.
type ipPermissionItem struct {
	Protocol    string              `xml:"ipProtocol"`
	From        *int64              `xml:"fromPort"`
	To          *int64              `xml:"toPort"`
	Groups      set[ruleGroupItem]  `xml:"groups"`
	Ranges      set[rangeItem]      `xml:"ipRanges"`
	Ranges6     set[range6Item]     `xml:"ipv6Ranges"`
	PrefixLists set[prefixListItem] `xml:"prefixListIds"`
}

type ruleGroupItem struct {
	OwnerID     string `xml:"userId"`
	ID          string `xml:"groupId"`
	Description string `xml:"description,omitempty"`
}

type rangeItem struct {
	CIDR        string `xml:"cidrIp"`
	Description string `xml:"description,omitempty"`
}

type range6Item struct {
	CIDR        string `xml:"cidrIpv6"`
	Description string `xml:"description,omitempty"`
}

type prefixListItem struct {
	ID          string `xml:"prefixListId"`
	Description string `xml:"description,omitempty"`
}

// permissions groups rules in the form of EC2.
func (s *Service) permissions(rules []store.Rule, egress bool) set[ipPermissionItem] {
	var out set[ipPermissionItem]
	type ports struct {
		protocol string
		from, to int64
	}
	at := map[ports]int{}
	for _, r := range rules {
		if r.Egress != egress {
			continue
		}
		key := ports{r.Protocol, r.From, r.To}
		i, ok := at[key]
		if !ok {
			i = len(out.Items)
			at[key] = i
			item := ipPermissionItem{Protocol: r.Protocol}
			if r.Protocol != "-1" {
				item.From, item.To = &key.from, &key.to
			}
			out.Items = append(out.Items, item)
		}
		p := &out.Items[i]
		switch {
		case r.Group != "":
			p.Groups.Items = append(p.Groups.Items, ruleGroupItem{s.Account, r.Group, r.Description})
		case r.CIDR6 != "":
			p.Ranges6.Items = append(p.Ranges6.Items, range6Item{r.CIDR6, r.Description})
		case r.PrefixList != "":
			p.PrefixLists.Items = append(p.PrefixLists.Items, prefixListItem{r.PrefixList, r.Description})
		default:
			p.Ranges.Items = append(p.Ranges.Items, rangeItem{r.CIDR, r.Description})
		}
	}
	return out
}

// rules reads the rules of a request. Each has one other end.
func (p params) rules(egress bool) []store.Rule {
	var out []store.Rule
	permissions := p.each("IpPermissions")
	if p.has("IpProtocol") || p.has("CidrIp") { // the older, flat form
		rule := p.ports(egress)
		rule.CIDR = p.ruleCIDR("CidrIp", true)
		out = append(out, rule)
	}
	for _, perm := range permissions {
		base := perm.ports(egress)
		n := len(out)
		add := func(end params, set func(*store.Rule)) {
			rule := base
			rule.Description = end.str("Description")
			set(&rule)
			out = append(out, rule)
		}
		for _, end := range perm.each("IpRanges") {
			add(end, func(r *store.Rule) { r.CIDR = end.ruleCIDR("CidrIp", true) })
		}
		for _, end := range perm.each("Ipv6Ranges") {
			add(end, func(r *store.Rule) { r.CIDR6 = end.ruleCIDR("CidrIpv6", false) })
		}
		for _, end := range perm.each("Groups") {
			end.ignore("UserId", "VpcId")
			add(end, func(r *store.Rule) { r.Group = end.need("GroupId") })
		}
		for _, end := range perm.each("PrefixListIds") {
			add(end, func(r *store.Rule) { r.PrefixList = end.need("PrefixListId") })
		}
		if len(out) == n {
			p.fail(call.Errorf("InvalidParameterValue", "The rule %s names no source or destination: give IpRanges, Ipv6Ranges, Groups or PrefixListIds.", perm.path))
		}
	}
	return out
}

// ports reads protocol and ports of a rule.
func (p params) ports(egress bool) store.Rule {
	rule := store.Rule{Egress: egress, Protocol: strings.ToLower(p.need("IpProtocol"))}
	if name, ok := map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}[rule.Protocol]; ok {
		rule.Protocol = name
	}
	rule.From, rule.To = p.number("FromPort", -1, -1, 65535), p.number("ToPort", -1, -1, 65535)
	switch {
	case rule.Protocol == "-1":
		rule.From, rule.To = -1, -1
	case (rule.Protocol == "tcp" || rule.Protocol == "udp") && (rule.From < 0 || rule.To < rule.From):
		p.fail(call.Errorf("InvalidParameterValue", "Invalid value for portRange. Must specify both from and to ports with TCP/UDP, from not above to."))
	}
	return rule
}

// ruleCIDR reads an address range as a rule has it.
func (p params) ruleCIDR(name string, v4 bool) string {
	text := p.need(name)
	prefix, err := netip.ParsePrefix(text)
	if text != "" && (err != nil || prefix.Addr().Is4() != v4) {
		p.fail(call.Errorf("InvalidParameterValue", "CIDR block %s is malformed", text))
		return ""
	}
	return prefix.Masked().String()
}

// same tells whether two rules let the same through.
func same(a, b store.Rule) bool {
	a.ID, a.Description, a.Tags = b.ID, b.Description, nil
	b.Tags = nil
	return ruleText(a) == ruleText(b)
}

func ruleText(r store.Rule) string {
	return strings.Join([]string{ruleDirection(r), r.Protocol, itoa(r.From), itoa(r.To), r.CIDR, r.CIDR6, r.PrefixList, r.Group}, " ")
}

func ruleDirection(r store.Rule) string {
	if r.Egress {
		return "egress"
	}
	return "ingress"
}
