// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type createGroupReply struct {
	meta
	Return bool         `xml:"return"`
	ID     string       `xml:"groupId"`
	ARN    string       `xml:"securityGroupArn"`
	Tags   set[tagItem] `xml:"tagSet"`
}

type describeGroupsReply struct {
	meta
	Groups    set[securityGroupItem] `xml:"securityGroupInfo"`
	NextToken string                 `xml:"nextToken,omitempty"`
}

type securityGroupItem struct {
	ID          string                `xml:"groupId"`
	Name        string                `xml:"groupName"`
	Description string                `xml:"groupDescription"`
	VPC         string                `xml:"vpcId"`
	OwnerID     string                `xml:"ownerId"`
	Ingress     set[ipPermissionItem] `xml:"ipPermissions"`
	Egress      set[ipPermissionItem] `xml:"ipPermissionsEgress"`
	Tags        set[tagItem]          `xml:"tagSet"`
}

func findGroup(reg *store.Region, id string) (store.SecurityGroup, error) {
	return finding(reg.SecurityGroups, "sg", "InvalidGroup", "InvalidGroupId", "The security group '%s' does not exist", id)
}

func groupNamed(reg *store.Region, vpc, name string) (store.SecurityGroup, bool) {
	for _, g := range reg.SecurityGroups.All() {
		if g.VPC == vpc && g.Name == name {
			return g, true
		}
	}
	return store.SecurityGroup{}, false
}

// groupOf reads which group a request is about: by id, or by name in the default VPC.
func (p params) groupOf() func(*store.Region) (store.SecurityGroup, error) {
	id, name := p.str("GroupId"), p.str("GroupName")
	if id == "" && name == "" {
		p.fail(call.Errorf("MissingParameter", "The request must contain the parameter groupName or groupId"))
	}
	return func(reg *store.Region) (store.SecurityGroup, error) {
		if id != "" {
			return findGroup(reg, id)
		}
		vpc, ok := defaultVPC(reg)
		if !ok {
			return store.SecurityGroup{}, noDefaultVPC()
		}
		g, ok := groupNamed(reg, vpc.ID, name)
		if !ok {
			return g, call.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC '%s'", name, vpc.ID)
		}
		return g, nil
	}
}

// groupText tells whether a name or a description has the length and the
// characters that the API reference allows.
func groupText(text string) bool {
	const others = " ._-:/()#,@[]+=&;{}!$*"
	return len(text) <= 255 && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune(others, c)
	})
}

func (s *Service) createGroup(r *request) (reply, error) {
	g := store.SecurityGroup{
		ID: store.NewID("sg"), Name: r.need("GroupName"), Description: r.need("GroupDescription"), VPC: r.str("VpcId"),
		Tags: r.tagSpecs("security-group")["security-group"], Rules: []store.Rule{store.AllowAll()},
	}
	for what, text := range map[string]string{"GroupName": g.Name, "GroupDescription": g.Description} {
		if !groupText(text) {
			r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It can have up to 255 characters: a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*", text, what))
		}
	}
	if strings.HasPrefix(g.Name, "sg-") {
		r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*.", g.Name))
	}
	_, err := s.do1(r, func(reg *store.Region) error {
		if g.VPC == "" {
			vpc, ok := defaultVPC(reg)
			if !ok {
				return noDefaultVPC()
			}
			g.VPC = vpc.ID
		}
		if _, err := findVPC(reg, g.VPC); err != nil {
			return err
		}
		if _, ok := groupNamed(reg, g.VPC, g.Name); ok {
			return call.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, g.VPC)
		}
		return reg.SecurityGroups.Put(g)
	})
	if err != nil {
		return nil, err
	}
	return &createGroupReply{Return: true, ID: g.ID, ARN: s.groupARN(r.Region, g.ID), Tags: tagSet(g.Tags)}, nil
}

func (s *Service) groupARN(region, id string) string {
	return "arn:aws:ec2:" + region + ":" + s.Account + ":security-group/" + id
}

func (s *Service) describeGroups(r *request) (reply, error) {
	type sg = store.SecurityGroup
	names := r.list("GroupName")
	rows, next, err := describe(s, r, kind[sg]{
		ids: "GroupId", prefix: "sg", code: "InvalidGroup", malformed: "InvalidGroupId", absent: "The security group '%s' does not exist", least: 5,
		all:   func(reg *store.Region) []sg { return reg.SecurityGroups.All() },
		id:    func(g sg) string { return g.ID },
		attrs: s.groupFilters(),
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(rows, func(g sg) bool { return g.Name == name }) {
			return nil, call.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
		}
	}
	out := &describeGroupsReply{NextToken: next}
	for _, g := range rows {
		if len(names) > 0 && !slices.Contains(names, g.Name) {
			continue
		}
		out.Groups.Items = append(out.Groups.Items, securityGroupItem{
			ID: g.ID, Name: g.Name, Description: g.Description, VPC: g.VPC, OwnerID: s.Account, Tags: tagSet(g.Tags),
			Ingress: s.permissions(g.Rules, false), Egress: s.permissions(g.Rules, true),
		})
	}
	return out, nil
}

func (s *Service) groupFilters() attributes[store.SecurityGroup] {
	type sg = store.SecurityGroup
	fields := map[string]func(sg) []string{
		"group-id":    only(func(g sg) string { return g.ID }),
		"group-name":  only(func(g sg) string { return g.Name }),
		"description": only(func(g sg) string { return g.Description }),
		"vpc-id":      only(func(g sg) string { return g.VPC }),
		"owner-id":    only(func(sg) string { return s.Account }),
	}
	for prefix, egress := range map[string]bool{"ip-permission.": false, "egress.ip-permission.": true} {
		rule := func(f func(store.Rule) string) func(sg) []string {
			return func(g sg) (out []string) {
				for _, rule := range g.Rules {
					if rule.Egress == egress {
						out = append(out, f(rule))
					}
				}
				return out
			}
		}
		fields[prefix+"cidr"] = rule(func(r store.Rule) string { return r.CIDR })
		fields[prefix+"ipv6-cidr"] = rule(func(r store.Rule) string { return r.CIDR6 })
		fields[prefix+"group-id"] = rule(func(r store.Rule) string { return r.Group })
		fields[prefix+"protocol"] = rule(func(r store.Rule) string { return r.Protocol })
		fields[prefix+"from-port"] = rule(func(r store.Rule) string { return strconv.FormatInt(r.From, 10) })
		fields[prefix+"to-port"] = rule(func(r store.Rule) string { return strconv.FormatInt(r.To, 10) })
	}
	return attributes[sg]{tags: func(g sg) map[string]string { return g.Tags }, fields: fields}
}

// groupUser names what keeps a group from being deleted, "" for nothing.
func groupUser(reg *store.Region, id string) string {
	for _, i := range reg.Instances.All() {
		if i.State != store.InstanceTerminated && slices.ContainsFunc(i.Groups, func(g store.Group) bool { return g.ID == id }) {
			return i.ID
		}
	}
	for _, g := range reg.SecurityGroups.All() {
		if g.ID != id && slices.ContainsFunc(g.Rules, func(r store.Rule) bool { return r.Group == id }) {
			return g.ID
		}
	}
	return ""
}

type deleteGroupReply struct {
	meta
	Return bool   `xml:"return"`
	ID     string `xml:"groupId"`
}

func (s *Service) deleteGroup(r *request) (reply, error) {
	find := r.groupOf()
	out := &deleteGroupReply{Return: true}
	_, err := s.do1(r, func(reg *store.Region) error {
		g, err := find(reg)
		if err != nil {
			return err
		}
		out.ID = g.ID
		if g.Name == "default" {
			return call.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
		}
		if user := groupUser(reg, g.ID); user != "" {
			return call.Errorf("DependencyViolation", "resource %s has a dependent object: %s", g.ID, user)
		}
		return reg.SecurityGroups.Delete(g.ID)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
