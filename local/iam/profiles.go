// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package iam

import (
	"net/http"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) profileActions() map[string]handler {
	return map[string]handler{
		"CreateInstanceProfile":         s.createProfile,
		"GetInstanceProfile":            s.getProfile,
		"DeleteInstanceProfile":         s.deleteProfile,
		"ListInstanceProfiles":          s.listProfiles,
		"ListInstanceProfilesForRole":   s.listProfilesForRole,
		"AddRoleToInstanceProfile":      s.addRole,
		"RemoveRoleFromInstanceProfile": s.removeRole,
		"TagInstanceProfile":            s.tagProfile,
		"UntagInstanceProfile":          s.untagProfile,
		"ListInstanceProfileTags":       s.listProfileTags,
	}
}

type profileItem struct {
	Path    string     `xml:"Path"`
	Name    string     `xml:"InstanceProfileName"`
	ID      string     `xml:"InstanceProfileId"`
	ARN     string     `xml:"Arn"`
	Created string     `xml:"CreateDate"`
	Roles   []roleItem `xml:"Roles>member"`
	Tags    []tagItem  `xml:"Tags>member"`
}

func (s *Service) profileItem(reg *store.Region, p store.InstanceProfile) profileItem {
	item := profileItem{p.Path, p.Name, p.ID, p.ARN(s.Account), stamp(p.Created), nil, tagItems(p.Tags)}
	if role, ok := reg.Roles.Get(p.Role); ok {
		item.Roles = []roleItem{s.roleItem(role)}
	}
	return item
}

type profileResult struct {
	Profile profileItem `xml:"InstanceProfile"`
}

func (s *Service) createProfile(r *request) (any, error) {
	p := store.InstanceProfile{
		Name: r.matching("InstanceProfileName", profileName), ID: newID("AIPA"), Path: r.path(), Tags: r.tags(), Created: s.Store.Now().UTC(),
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	var out profileResult
	err := s.update(func(reg *store.Region) error {
		for _, other := range reg.InstanceProfiles.All() {
			if strings.EqualFold(other.Name, p.Name) {
				return conflict("EntityAlreadyExists", "Instance Profile %s already exists.", p.Name)
			}
		}
		out.Profile = s.profileItem(reg, p)
		return reg.InstanceProfiles.Put(p)
	})
	return out, err
}

func noSuchProfile(name string) *call.Error {
	return call.Errorf("NoSuchEntity", "Instance Profile %s cannot be found.", name).WithStatus(http.StatusNotFound)
}

// onProfile runs f on the profile that the call names, and puts it back.
func (s *Service) onProfile(r *request, f func(*store.Region, *store.InstanceProfile) error) error {
	name := r.need("InstanceProfileName")
	if err := r.checked(); err != nil {
		return err
	}
	return s.update(func(reg *store.Region) error {
		p, ok := reg.InstanceProfiles.Get(name)
		if !ok {
			return noSuchProfile(name)
		}
		if err := f(reg, &p); err != nil {
			return err
		}
		return reg.InstanceProfiles.Put(p)
	})
}

// profile shows the profile that the call names.
func (s *Service) profile(r *request) (item profileItem, err error) {
	name := r.need("InstanceProfileName")
	if err := r.checked(); err != nil {
		return item, err
	}
	err = s.view(func(reg *store.Region) error {
		p, ok := reg.InstanceProfiles.Get(name)
		if !ok {
			return noSuchProfile(name)
		}
		item = s.profileItem(reg, p)
		return nil
	})
	return item, err
}

func (s *Service) getProfile(r *request) (any, error) {
	item, err := s.profile(r)
	return profileResult{item}, err
}

func (s *Service) deleteProfile(r *request) (any, error) {
	name := r.need("InstanceProfileName")
	if err := r.checked(); err != nil {
		return nil, err
	}
	return nil, s.update(func(reg *store.Region) error {
		p, ok := reg.InstanceProfiles.Get(name)
		switch {
		case !ok:
			return noSuchProfile(name)
		case p.Role != "":
			return conflict("DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
		}
		return reg.InstanceProfiles.Delete(name)
	})
}

func (s *Service) addRole(r *request) (any, error) {
	role := r.need("RoleName")
	return nil, s.onProfile(r, func(reg *store.Region, p *store.InstanceProfile) error {
		if _, ok := reg.Roles.Get(role); !ok {
			return noSuchRole(role)
		}
		if p.Role != "" {
			return conflict("LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		p.Role = role
		return nil
	})
}

func (s *Service) removeRole(r *request) (any, error) {
	role := r.need("RoleName")
	return nil, s.onProfile(r, func(_ *store.Region, p *store.InstanceProfile) error {
		if p.Role != role {
			return noSuchRole(role)
		}
		p.Role = ""
		return nil
	})
}

func (s *Service) listProfiles(r *request) (any, error) {
	prefix := r.str("PathPrefix")
	return s.profiles(r, func(p store.InstanceProfile) bool { return strings.HasPrefix(p.Path, prefix) })
}

func (s *Service) listProfilesForRole(r *request) (any, error) {
	r.str("MaxItems")
	r.str("Marker")
	role, err := s.role(r)
	if err != nil {
		return nil, err
	}
	return s.profiles(r, func(p store.InstanceProfile) bool { return p.Role == role.Name })
}

// profiles lists the profiles that wanted says yes to.
func (s *Service) profiles(r *request, wanted func(store.InstanceProfile) bool) (any, error) {
	var rows []profileItem
	err := s.view(func(reg *store.Region) error {
		for _, p := range reg.InstanceProfiles.All() {
			if wanted(p) {
				rows = append(rows, s.profileItem(reg, p))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b profileItem) int { return strings.Compare(a.Name, b.Name) })
	rows, end, err := page(s, r, rows, func(p profileItem) string { return p.Name })
	return struct {
		Profiles []profileItem `xml:"InstanceProfiles>member"`
		listing
	}{rows, end}, err
}

func (s *Service) tagProfile(r *request) (any, error) {
	tags := r.tags()
	return nil, s.onProfile(r, func(_ *store.Region, p *store.InstanceProfile) (err error) {
		p.Tags, err = withTags(p.Tags, tags)
		return err
	})
}

func (s *Service) untagProfile(r *request) (any, error) {
	keys := r.keys()
	return nil, s.onProfile(r, func(_ *store.Region, p *store.InstanceProfile) error {
		p.Tags = withoutTags(p.Tags, keys)
		return nil
	})
}

func (s *Service) listProfileTags(r *request) (any, error) {
	item, err := s.profile(r)
	return tagsResult{Tags: item.Tags}, err
}
