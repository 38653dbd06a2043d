// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type rulesReply struct {
	meta
	Return bool          `xml:"return"`
	Rules  set[ruleItem] `xml:"securityGroupRuleSet"`
}

type describeRulesReply struct {
	meta
	Rules     set[ruleItem] `xml:"securityGroupRuleSet"`
	NextToken string        `xml:"nextToken,omitempty"`
}

type ruleItem struct {
	ID          string       `xml:"securityGroupRuleId"`
	Group       string       `xml:"groupId"`
	OwnerID     string       `xml:"groupOwnerId"`
	Egress      bool         `xml:"isEgress"`
	Protocol    string       `xml:"ipProtocol"`
	From        int64        `xml:"fromPort"`
	To          int64        `xml:"toPort"`
	CIDR        string       `xml:"cidrIpv4,omitempty"`
	CIDR6       string       `xml:"cidrIpv6,omitempty"`
	PrefixList  string       `xml:"prefixListId,omitempty"`
	Referenced  string       `xml:"referencedGroupInfo>groupId,omitempty"`
	Description string       `xml:"description,omitempty"`
	Tags        set[tagItem] `xml:"tagSet"`
}

func (s *Service) ruleItem(group string, r store.Rule) ruleItem {
	return ruleItem{r.ID, group, s.Account, r.Egress, r.Protocol, r.From, r.To, r.CIDR, r.CIDR6, r.PrefixList, r.Group, r.Description, tagSet(r.Tags)}
}

// authorize adds rules to a group: all of them or none.
func (s *Service) authorize(egress bool) handler {
	return func(r *request) (reply, error) {
		find, rules := r.groupOf(), r.rules(egress)
		tags := r.tagSpecs("security-group-rule")["security-group-rule"]
		if len(rules) == 0 {
			r.fail(missing("IpPermissions"))
		}
		out := &rulesReply{Return: true}
		_, err := s.do1(r, func(reg *store.Region) error {
			g, err := find(reg)
			if err != nil {
				return err
			}
			g.Rules = slices.Clone(g.Rules)
			for _, rule := range rules {
				if rule.Group != "" {
					if _, err := findGroup(reg, rule.Group); err != nil {
						return err
					}
				}
				if slices.ContainsFunc(g.Rules, func(o store.Rule) bool { return same(o, rule) }) {
					return call.Errorf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", ruleText(rule))
				}
				rule.ID, rule.Tags = store.NewID("sgr"), tags
				g.Rules = append(g.Rules, rule)
				out.Rules.Items = append(out.Rules.Items, s.ruleItem(g.ID, rule))
			}
			return reg.SecurityGroups.Put(g)
		})
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// revoke takes rules, named by what they say or by their ids, from a group.
func (s *Service) revoke(egress bool) handler {
	return func(r *request) (reply, error) {
		find, rules, ids := r.groupOf(), r.rules(egress), r.list("SecurityGroupRuleId")
		if len(rules)+len(ids) == 0 {
			r.fail(missing("IpPermissions"))
		}
		return s.do1(r, func(reg *store.Region) error {
			g, err := find(reg)
			if err != nil {
				return err
			}
			g.Rules = slices.Clone(g.Rules)
			drop := func(match func(store.Rule) bool) bool {
				n := len(g.Rules)
				g.Rules = slices.DeleteFunc(g.Rules, func(o store.Rule) bool { return o.Egress == egress && match(o) })
				return len(g.Rules) < n
			}
			for _, rule := range rules {
				if !drop(func(o store.Rule) bool { return same(o, rule) }) {
					return call.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group: %s", ruleText(rule))
				}
			}
			for _, id := range ids {
				if !drop(func(o store.Rule) bool { return o.ID == id }) {
					return call.Errorf("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
				}
			}
			return reg.SecurityGroups.Put(g)
		})
	}
}

// ruleRow is a rule with the group that it belongs to.
type ruleRow struct {
	store.Rule
	group string
}

func (s *Service) describeRules(r *request) (reply, error) {
	rows, next, err := describe(s, r, kind[ruleRow]{
		ids: "SecurityGroupRuleId", prefix: "sgr", code: "InvalidSecurityGroupRuleId", absent: "The security group rule ID '%s' does not exist", least: 5,
		all: func(reg *store.Region) (rows []ruleRow) {
			for _, g := range reg.SecurityGroups.All() {
				for _, rule := range g.Rules {
					rows = append(rows, ruleRow{rule, g.ID})
				}
			}
			slices.SortFunc(rows, func(a, b ruleRow) int { return cmp.Compare(a.ID, b.ID) })
			return rows
		},
		id: func(r ruleRow) string { return r.ID },
		attrs: attributes[ruleRow]{
			tags: func(r ruleRow) map[string]string { return r.Tags },
			fields: map[string]func(ruleRow) []string{
				"group-id":               only(func(r ruleRow) string { return r.group }),
				"security-group-rule-id": only(func(r ruleRow) string { return r.ID }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	out := &describeRulesReply{NextToken: next}
	for _, row := range rows {
		out.Rules.Items = append(out.Rules.Items, s.ruleItem(row.group, row.Rule))
	}
	return out, nil
}
