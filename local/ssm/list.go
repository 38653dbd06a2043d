// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ssm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// description is a parameter without its value, or with it in a history.
type description struct {
	ARN              string `json:",omitempty"`
	AllowedPattern   string `json:",omitempty"`
	DataType         string
	Description      string `json:",omitempty"`
	KeyID            string `json:"KeyId,omitempty"`
	LastModifiedDate float64
	LastModifiedUser string
	Name             string
	Tier             string
	Type             string
	Value            string `json:",omitempty"`
	Version          int64
}

func (s *Service) describe(p store.Parameter, v store.ParameterVersion) description {
	return description{
		AllowedPattern: v.AllowedPattern, DataType: v.DataType, Description: v.Description, KeyID: v.KeyID,
		LastModifiedDate: float64(v.Modified.UnixMilli()) / 1000, LastModifiedUser: "arn:aws:iam::" + s.Account + ":root",
		Name: p.Name, Tier: v.Tier, Type: v.Type, Version: v.Version,
	}
}

type filter struct {
	Key, Option string
	Values      []string
}

// matches tells whether a parameter passes the filter.
func (f filter) matches(p store.Parameter) (bool, error) {
	test := map[string]func(have, want string) bool{
		"":           func(have, want string) bool { return have == want },
		"Equals":     func(have, want string) bool { return have == want },
		"BeginsWith": strings.HasPrefix,
		"Contains":   strings.Contains,
	}[f.Option]
	if key, ok := strings.CutPrefix(f.Key, "tag:"); ok && test != nil {
		have, there := p.Tags[key]
		return there && (len(f.Values) == 0 || slices.ContainsFunc(f.Values, func(want string) bool { return test(have, want) })), nil
	}
	have, known := map[string]string{
		"Name": p.Name, "Type": p.Last().Type, "DataType": p.Last().DataType, "Tier": p.Last().Tier, "KeyId": p.Last().KeyID,
	}[f.Key]
	switch {
	case !known:
		return false, call.Errorf("InvalidFilterKey", "The filter key '%s' is not valid here.", f.Key)
	case test == nil:
		return false, call.Errorf("InvalidFilterOption", "The filter option '%s' is not valid. Use Equals, BeginsWith or Contains.", f.Option)
	}
	return slices.ContainsFunc(f.Values, func(want string) bool { return test(have, want) }), nil
}

func (s *Service) describeParameters(r *request) (any, error) {
	var in struct {
		ParameterFilters []filter
		paging
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	rows := []description{}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
	next:
		for _, p := range byPath(reg) {
			for _, f := range in.ParameterFilters {
				if ok, err := f.matches(p); err != nil {
					return err
				} else if !ok {
					continue next
				}
			}
			d := s.describe(p, p.Last())
			d.ARN = s.arn(r.Region, p.Name)
			rows = append(rows, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(s, r, in.paging, 50, rows, func(d description) string { return d.Name })
	return struct {
		Parameters []description
		NextToken  string `json:",omitempty"`
	}{rows, next}, err
}

func (s *Service) getParameterHistory(r *request) (any, error) {
	var in struct {
		Name           string
		WithDecryption bool
		paging
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	rows := []description{}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		p, _, _, err := s.find(reg, in.Name)
		for _, v := range p.Versions {
			d := s.describe(p, v)
			d.Value = s.item(r.Region, p, v, in.WithDecryption).Value
			rows = append(rows, d)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(s, r, in.paging, 50, rows, func(d description) string { return fmt.Sprintf("%020d", d.Version) })
	return struct {
		Parameters []description
		NextToken  string `json:",omitempty"`
	}{rows, next}, err
}

func (s *Service) deleteParameter(r *request) (any, error) {
	var in struct{ Name string }
	if err := r.into(&in); err != nil {
		return nil, err
	}
	return struct{}{}, s.Store.Update(r.Region, func(reg *store.Region) error {
		p, _, _, err := s.find(reg, in.Name)
		if err != nil {
			return err
		}
		return reg.Parameters.Delete(store.ParameterKey(p.Name))
	})
}

func (s *Service) deleteParameters(r *request) (any, error) {
	var in struct{ Names []string }
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if len(in.Names) < 1 || len(in.Names) > 10 {
		return nil, invalid("1 validation error detected: 'names' must have between 1 and 10 entries")
	}
	deleted, absent := []string{}, []string{}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, name := range in.Names {
			p, _, _, err := s.find(reg, name)
			if err != nil {
				absent = append(absent, name)
				continue
			}
			if err := reg.Parameters.Delete(store.ParameterKey(p.Name)); err != nil {
				return err
			}
			deleted = append(deleted, name)
		}
		return nil
	})
	return struct{ DeletedParameters, InvalidParameters []string }{deleted, absent}, err
}

// tagging is what the tag actions are asked for.
type tagging struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
	Tags         []tag
	TagKeys      []string
}

// onTagged reads a tag action and runs f on the parameter that it names.
func (s *Service) onTagged(r *request, f func(*store.Region, tagging, store.Parameter) error) error {
	var in tagging
	if err := r.into(&in); err != nil {
		return err
	}
	if in.ResourceType != "Parameter" {
		return call.Errorf("InvalidResourceType", "The local cloud has tags on resources of the type Parameter only, not '%s'.", in.ResourceType)
	}
	return s.Store.Update(r.Region, func(reg *store.Region) error {
		p, ok := reg.Parameters.Get(store.ParameterKey(in.ResourceID))
		if !ok {
			return call.Errorf("InvalidResourceId", "The resource ID %s is not valid. Verify the ID and try again.", in.ResourceID)
		}
		return f(reg, in, p)
	})
}

func (s *Service) addTags(r *request) (any, error) {
	return struct{}{}, s.onTagged(r, func(reg *store.Region, in tagging, p store.Parameter) error {
		tags, err := withTags(p.Tags, in.Tags)
		if err != nil {
			return err
		}
		p.Tags = tags
		return reg.Parameters.Put(p)
	})
}

func (s *Service) removeTags(r *request) (any, error) {
	return struct{}{}, s.onTagged(r, func(reg *store.Region, in tagging, p store.Parameter) error {
		p.Tags = maps.Clone(p.Tags)
		maps.DeleteFunc(p.Tags, func(k, _ string) bool { return slices.Contains(in.TagKeys, k) })
		return reg.Parameters.Put(p)
	})
}

func (s *Service) listTags(r *request) (any, error) {
	out := struct{ TagList []tag }{[]tag{}}
	return &out, s.onTagged(r, func(_ *store.Region, _ tagging, p store.Parameter) error {
		for _, k := range slices.Sorted(maps.Keys(p.Tags)) {
			out.TagList = append(out.TagList, tag{k, p.Tags[k]})
		}
		return nil
	})
}
