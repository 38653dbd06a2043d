// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// filter is one condition of an index.
type filter struct {
	name, value string
	not         bool
}

// filters reads filter[]=name==text and filter[]=name<>text.
func (c *call) filters(known ...string) []filter {
	var list []filter
	for _, text := range c.p.texts("filter") {
		var f filter
		var ok bool
		if f.name, f.value, ok = strings.Cut(text, "=="); !ok {
			if f.name, f.value, f.not = strings.Cut(text, "<>"); !f.not {
				c.p.wrong("filter[]", "name==text or name<>text")
				continue
			}
		}
		if !slices.Contains(known, f.name) {
			c.p.wrong("filter[]", "one of "+strings.Join(known, ", "))
			continue
		}
		list = append(list, f)
	}
	return list
}

// matches looks at a link for names that end with _href, else at an attribute:
// a part of a text in any case, or all of anything else.
func (f filter) matches(r resource) bool {
	if rel, ok := strings.CutSuffix(f.name, "_href"); ok {
		links, _ := r["links"].([]wire.Link)
		has := slices.ContainsFunc(links, func(l wire.Link) bool { return l.Rel == rel && l.Href == f.value })
		return has != f.not
	}
	var has bool
	switch v := r[f.name].(type) {
	case string:
		has = strings.Contains(strings.ToLower(v), strings.ToLower(f.value))
	case []string:
		has = slices.Contains(v, f.value)
	default:
		has = fmt.Sprint(v) == f.value
	}
	return has != f.not
}

// index answers with those of a list that the filters select.
func (c *call) index(media string, list []resource, known ...string) (reply, error) {
	filters := c.filters(known...)
	selected := make([]resource, 0, len(list))
	for _, r := range list {
		if !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(r) }) {
			selected = append(selected, r)
		}
	}
	return reply{status: http.StatusOK, media: media, collection: true, body: selected}, nil
}
