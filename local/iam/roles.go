// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package iam

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// The forms of names, from IAM's API reference.
const (
	roleName    = `[\w+=,.@-]{1,64}`
	profileName = `[\w+=,.@-]{1,128}`
	policyName  = `[\w+=,.@-]{1,128}`
	pathForm    = `/|/[\x21-\x7e]{1,510}/`
)

func (s *Service) roleActions() map[string]handler {
	return map[string]handler{
		"CreateRole":             s.createRole,
		"GetRole":                s.getRole,
		"DeleteRole":             s.deleteRole,
		"ListRoles":              s.listRoles,
		"UpdateAssumeRolePolicy": s.updateTrust,
		"TagRole":                s.tagRole,
		"UntagRole":              s.untagRole,
		"ListRoleTags":           s.listRoleTags,
	}
}

type roleItem struct {
	Path        string    `xml:"Path"`
	Name        string    `xml:"RoleName"`
	ID          string    `xml:"RoleId"`
	ARN         string    `xml:"Arn"`
	Created     string    `xml:"CreateDate"`
	Trust       string    `xml:"AssumeRolePolicyDocument"`
	Description string    `xml:"Description,omitempty"`
	MaxSession  int64     `xml:"MaxSessionDuration"`
	Tags        []tagItem `xml:"Tags>member"`
}

// roleItem shows a role; documents come URL-encoded, as IAM's do.
func (s *Service) roleItem(r store.Role) roleItem {
	return roleItem{r.Path, r.Name, r.ID, r.ARN(s.Account), stamp(r.Created), encoded(r.Trust), r.Description, r.MaxSession, tagItems(r.Tags)}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func encoded(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

// newID makes an identifier as IAM does: the prefix of the kind and 17 characters.
func newID(prefix string) string { return prefix + rand.Text()[:17] }

type roleResult struct {
	Role roleItem `xml:"Role"`
}

func (s *Service) createRole(r *request) (any, error) {
	role := store.Role{
		Name: r.matching("RoleName", roleName), ID: newID("AROA"), Path: r.path(), Description: r.str("Description"),
		Trust: r.document("AssumeRolePolicyDocument", trustPolicy), MaxSession: r.number("MaxSessionDuration", 3600, 3600, 43200),
		Boundary: r.str("PermissionsBoundary"), Tags: r.tags(), Created: s.Store.Now().UTC(),
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.update(func(reg *store.Region) error {
		for _, other := range reg.Roles.All() {
			if strings.EqualFold(other.Name, role.Name) {
				return conflict("EntityAlreadyExists", "Role with name %s already exists.", role.Name)
			}
		}
		return reg.Roles.Put(role)
	})
	return roleResult{s.roleItem(role)}, err
}

func (f *form) path() string {
	if f.str("Path") == "" {
		return "/"
	}
	return f.matching("Path", pathForm)
}

func conflict(code, format string, args ...any) *call.Error {
	return call.Errorf(code, format, args...).WithStatus(http.StatusConflict)
}

func noSuchRole(name string) *call.Error {
	return call.Errorf("NoSuchEntity", "The role with name %s cannot be found.", name).WithStatus(http.StatusNotFound)
}

// onRole runs f on the role that the call names, and puts it back.
func (s *Service) onRole(r *request, f func(*store.Region, *store.Role) error) error {
	name := r.need("RoleName")
	if err := r.checked(); err != nil {
		return err
	}
	return s.update(func(reg *store.Region) error {
		role, ok := reg.Roles.Get(name)
		if !ok {
			return noSuchRole(name)
		}
		if err := f(reg, &role); err != nil {
			return err
		}
		return reg.Roles.Put(role)
	})
}

// role returns the role that the call names.
func (s *Service) role(r *request) (role store.Role, err error) {
	name := r.need("RoleName")
	if err := r.checked(); err != nil {
		return role, err
	}
	err = s.view(func(reg *store.Region) error {
		var ok bool
		if role, ok = reg.Roles.Get(name); !ok {
			return noSuchRole(name)
		}
		return nil
	})
	return role, err
}

func (s *Service) getRole(r *request) (any, error) {
	role, err := s.role(r)
	return roleResult{s.roleItem(role)}, err
}

// deleteRole refuses a role that something hangs on, as IAM does.
func (s *Service) deleteRole(r *request) (any, error) {
	name := r.need("RoleName")
	if err := r.checked(); err != nil {
		return nil, err
	}
	return nil, s.update(func(reg *store.Region) error {
		role, ok := reg.Roles.Get(name)
		switch {
		case !ok:
			return noSuchRole(name)
		case len(role.Attached) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must detach all policies first.")
		case len(role.Policies) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must delete policies first.")
		}
		for _, p := range reg.InstanceProfiles.All() {
			if p.Role == name {
				return conflict("DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
			}
		}
		return reg.Roles.Delete(name)
	})
}

func (s *Service) listRoles(r *request) (any, error) {
	prefix := r.str("PathPrefix")
	var rows []store.Role
	err := s.view(func(reg *store.Region) error {
		rows = reg.Roles.All()
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(role store.Role) bool { return !strings.HasPrefix(role.Path, prefix) })
	slices.SortFunc(rows, func(a, b store.Role) int { return strings.Compare(a.Name, b.Name) })
	rows, end, err := page(s, r, rows, func(role store.Role) string { return role.Name })
	if err != nil {
		return nil, err
	}
	out := struct {
		Roles []roleItem `xml:"Roles>member"`
		listing
	}{listing: end}
	for _, role := range rows {
		out.Roles = append(out.Roles, s.roleItem(role))
	}
	return out, nil
}

func (s *Service) updateTrust(r *request) (any, error) {
	trust := r.document("PolicyDocument", trustPolicy)
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		role.Trust = trust
		return nil
	})
}

func (s *Service) tagRole(r *request) (any, error) {
	tags := r.tags()
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) (err error) {
		role.Tags, err = withTags(role.Tags, tags)
		return err
	})
}

func (s *Service) untagRole(r *request) (any, error) {
	keys := r.keys()
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		role.Tags = withoutTags(role.Tags, keys)
		return nil
	})
}

type tagsResult struct {
	Tags []tagItem `xml:"Tags>member"`
	listing
}

func (s *Service) listRoleTags(r *request) (any, error) {
	role, err := s.role(r)
	return tagsResult{Tags: tagItems(role.Tags)}, err
}

// keys reads the TagKeys of an untag action.
func (f *form) keys() (keys []string) {
	for _, m := range f.members("TagKeys") {
		keys = append(keys, m[""])
	}
	return keys
}

func withTags(have, more map[string]string) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, more)
	if len(out) > maxTags {
		return nil, conflict("LimitExceeded", "Cannot exceed quota for TagsPerResource: %d", maxTags)
	}
	return out, nil
}

func withoutTags(have map[string]string, keys []string) map[string]string {
	out := maps.Clone(have)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}
