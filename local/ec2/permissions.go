// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"regexp"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/kms"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// sharing is a change of who may use an image or a snapshot.
type sharing struct {
	add, remove []store.Permission
}

func (c sharing) empty() bool { return len(c.add)+len(c.remove) == 0 }

// public tells whether the change shares something with everybody.
func (c sharing) public() bool {
	return slices.Contains(c.add, store.Permission{Group: store.GroupAll})
}

// sharing reads both forms of a change: BLOCK.Add.N with BLOCK.Remove.N, and
// OperationType with lists of users and groups.
func (p params) sharing(block string) (c sharing) {
	list := func(name string) (out []store.Permission) {
		for _, e := range p.each(block + "." + name) {
			out = append(out, store.Permission{
				User: e.str("UserId"), Group: e.str("Group"), OrgID: e.str("OrganizationArn"), OUID: e.str("OrganizationalUnitArn"),
			})
		}
		return out
	}
	c.add, c.remove = list("Add"), list("Remove")
	var flat []store.Permission
	for _, v := range p.list("UserId") {
		flat = append(flat, store.Permission{User: v})
	}
	for _, v := range p.list("UserGroup") {
		flat = append(flat, store.Permission{Group: v})
	}
	for _, v := range p.list("OrganizationArn") {
		flat = append(flat, store.Permission{OrgID: v})
	}
	for _, v := range p.list("OrganizationalUnitArn") {
		flat = append(flat, store.Permission{OUID: v})
	}
	switch p.oneOf("OperationType", "", "add", "remove") {
	case "add":
		c.add = append(c.add, flat...)
	case "remove":
		c.remove = append(c.remove, flat...)
	default:
		// Some clients, such as Packer's amazon plugin, name the same in both
		// forms, and only the first counts then.
		if len(flat) > 0 && len(c.add)+len(c.remove) == 0 {
			p.fail(missing("OperationType"))
		}
	}
	return c
}

// check refuses entries of a wrong form, with the code of the kind of thing.
func (c sharing) check(code string) error {
	forms := []struct {
		kind, form string
		value      func(store.Permission) string
	}{
		{"userId", `\d{12}`, func(p store.Permission) string { return p.User }},
		{"group", store.GroupAll, func(p store.Permission) string { return p.Group }},
		{"organizationArn", `arn:aws[a-z-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}`, func(p store.Permission) string { return p.OrgID }},
		{"organizationalUnitArn", `arn:aws[a-z-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}`, func(p store.Permission) string { return p.OUID }},
	}
	for _, p := range slices.Concat(c.add, c.remove) {
		given := 0
		for _, f := range forms {
			v := f.value(p)
			if v == "" {
				continue
			}
			given++
			if !regexp.MustCompile(`\A(?:` + f.form + `)\z`).MatchString(v) {
				return call.Errorf(code, "Invalid attribute item value \"%s\" for %s item type.", v, f.kind)
			}
		}
		if given != 1 {
			return call.Errorf("InvalidParameterCombination", "Each permission must name one of a user, a group, an organization and an organizational unit.")
		}
	}
	return nil
}

// apply returns the permissions after the change.
func (c sharing) apply(have []store.Permission) []store.Permission {
	out := slices.Clone(have)
	for _, p := range c.add {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return slices.DeleteFunc(out, func(p store.Permission) bool { return slices.Contains(c.remove, p) })
}

// managed tells whether a snapshot is encrypted with the key that AWS manages,
// which nobody else can use.
func (s *Service) managed(reg *store.Region, snap store.Snapshot) bool {
	return snap.Encrypted && snap.KmsKeyID == kms.Managed(reg.Name, s.Account)
}

// mayShareImage refuses what AWS does not let an account share.
func (s *Service) mayShareImage(reg *store.Region, img store.Image, c sharing) error {
	if c.public() && !img.Public() && reg.Settings().ImageBlock == store.BlockNewSharing {
		return call.Errorf("OperationNotPermitted", "You can't publicly share this image because block public access for AMIs is enabled for this account. To publicly share the image, you must call the DisableImageBlockPublicAccess API.")
	}
	for _, d := range img.BlockDevices {
		snap, ok := reg.Snapshots.Get(d.SnapshotID)
		switch {
		case !ok || len(c.add) == 0:
		case s.managed(reg, snap):
			return call.Errorf("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.")
		case snap.Encrypted && c.public():
			return call.Errorf("UnsupportedOperation", "Encrypted snapshots can't be shared publicly. Specify another snapshot.")
		}
	}
	return nil
}

// mayShareSnapshot is mayShareImage for a snapshot.
func (s *Service) mayShareSnapshot(reg *store.Region, snap store.Snapshot, c sharing) error {
	switch {
	case len(c.add) == 0:
	case s.managed(reg, snap):
		return call.Errorf("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
	case c.public() && snap.Encrypted:
		return call.Errorf("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
	case c.public() && reg.Settings().SnapshotBlock != store.Unblocked:
		return call.Errorf("OperationNotPermitted", "You can't publicly share this snapshot because block public access for snapshots is enabled (%s). To publicly share the snapshot, you must call the DisableSnapshotBlockPublicAccess API.", reg.Settings().SnapshotBlock)
	}
	return nil
}

type permissionItem struct {
	User  string `xml:"userId,omitempty"`
	Group string `xml:"group,omitempty"`
	OrgID string `xml:"organizationArn,omitempty"`
	OUID  string `xml:"organizationalUnitArn,omitempty"`
}

func permissionSet(list []store.Permission) *set[permissionItem] {
	out := &set[permissionItem]{}
	for _, p := range list {
		out.Items = append(out.Items, permissionItem(p))
	}
	return out
}
