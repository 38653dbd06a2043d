// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

const maxTags = 50

// tags reads Tag.N.Key and Tag.N.Value.
func (p params) tags(name string) map[string]string {
	tags := map[string]string{}
	for _, t := range p.each(name) {
		key, value := t.str("Key"), t.str("Value")
		if err := checkTag(key, value); err != nil {
			p.fail(err)
		}
		if _, twice := tags[key]; twice {
			p.fail(call.Errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", key))
		}
		tags[key] = value
	}
	if len(tags) > maxTags {
		p.fail(tooMany())
	}
	return tags
}

func tooMany() *call.Error {
	return call.Errorf("TagLimitExceeded", "A resource can have at most %d tags.", maxTags)
}

// checkTag holds the limits of the EC2 user guide.
func checkTag(key, value string) error {
	switch {
	case key == "":
		return call.Errorf("InvalidParameterValue", "Tag key cannot be empty.")
	case len([]rune(key)) > 128:
		return call.Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters")
	case len([]rune(value)) > 256:
		return call.Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return call.Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
	}
	return nil
}

// tagSpecs reads TagSpecification.N for the resource types that an action makes.
func (p params) tagSpecs(types ...string) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, spec := range p.each("TagSpecification") {
		kind := spec.str("ResourceType")
		tags := spec.tags("Tag")
		switch {
		case kind == "":
			p.fail(missing(spec.path + ".ResourceType"))
		case !slices.Contains(types, kind):
			p.fail(call.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind))
		case out[kind] != nil:
			p.fail(call.Errorf("InvalidParameterValue", "The resource type '%s' is specified more than once.", kind))
		}
		out[kind] = tags
	}
	return out
}

// createTags adds tags to, or overwrites tags of, all named resources or none.
func (s *Service) createTags(r *request) (reply, error) {
	tags := r.tags("Tag")
	if len(tags) == 0 {
		r.fail(missing("Tag"))
	}
	return s.changeTags(r, func(have map[string]string) (map[string]string, error) {
		out := maps.Clone(have)
		if out == nil {
			out = map[string]string{}
		}
		maps.Copy(out, tags)
		if len(out) > maxTags {
			return nil, tooMany()
		}
		return out, nil
	})
}

// deleteTags removes tags: all of them when none is named, and one that is named
// with a value only when it has that value.
func (s *Service) deleteTags(r *request) (reply, error) {
	type condition struct {
		value string
		given bool
	}
	drop := map[string]condition{}
	for _, t := range r.each("Tag") {
		given := t.has("Value")
		drop[t.str("Key")] = condition{t.str("Value"), given}
	}
	return s.changeTags(r, func(have map[string]string) (map[string]string, error) {
		out := map[string]string{}
		for k, v := range have {
			c, named := drop[k]
			if len(drop) > 0 && (!named || c.given && c.value != v) {
				out[k] = v
			}
		}
		return out, nil
	})
}

func (s *Service) changeTags(r *request, change func(map[string]string) (map[string]string, error)) (reply, error) {
	ids := r.list("ResourceId")
	if len(ids) == 0 {
		r.fail(missing("ResourceId"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		var writes []func() error
		for _, id := range ids {
			res, err := resource(reg, id)
			if err != nil {
				return err
			}
			tags, err := change(res.tags)
			if err != nil {
				return err
			}
			writes = append(writes, func() error { return res.put(tags) })
		}
		for _, write := range writes {
			if err := write(); err != nil {
				return fmt.Errorf("write tags: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}

type describeTagsReply struct {
	meta
	Tags      set[tagRow] `xml:"tagSet"`
	NextToken string      `xml:"nextToken,omitempty"`
}

type tagRow struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

func (s *Service) describeTags(r *request) (reply, error) {
	filters, pg := r.filters(), r.paging(5)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var rows []tagRow
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = allTags(reg)
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, err = attributes[tagRow]{
		tags: func(t tagRow) map[string]string { return map[string]string{t.Key: t.Value} },
		fields: map[string]func(tagRow) []string{
			"key":           only(func(t tagRow) string { return t.Key }),
			"value":         only(func(t tagRow) string { return t.Value }),
			"resource-id":   only(func(t tagRow) string { return t.ResourceID }),
			"resource-type": only(func(t tagRow) string { return t.ResourceType }),
		},
	}.keep(rows, filters)
	if err != nil {
		return nil, err
	}
	rows, next, err := page(s, r, pg, rows, func(t tagRow) string { return t.ResourceID + "/" + t.Key })
	if err != nil {
		return nil, err
	}
	return &describeTagsReply{Tags: set[tagRow]{rows}, NextToken: next}, nil
}

func allTags(reg *store.Region) []tagRow {
	var rows []tagRow
	add := func(id, kind string, tags map[string]string) {
		for k, v := range tags {
			rows = append(rows, tagRow{id, kind, k, v})
		}
	}
	for _, k := range taggables() {
		k.each(reg, func(id string, tags map[string]string) { add(id, k.kind, tags) })
	}
	slices.SortFunc(rows, func(a, b tagRow) int {
		return cmp.Compare(a.ResourceID+"/"+a.Key, b.ResourceID+"/"+b.Key)
	})
	return rows
}
