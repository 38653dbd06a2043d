// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package iam

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

// form reads the parameters of a call. It notes what was read, so that a
// parameter that would do nothing can be refused, and the first mistake.
type form struct {
	values url.Values
	read   map[string]bool
	first  error
}

// str returns a parameter, "" when absent.
func (f *form) str(name string) string {
	f.read[name] = true
	return f.values.Get(name)
}

// need is str for a parameter that must be there.
func (f *form) need(name string) string {
	v := f.str(name)
	if v == "" {
		f.fail(invalid("Value null at '%s' failed to satisfy constraint: Member must not be null", name))
	}
	return v
}

// matching is need with a pattern for all of the value.
func (f *form) matching(name, pattern string) string {
	v := f.need(name)
	if v != "" && !regexp.MustCompile(`\A(?:`+pattern+`)\z`).MatchString(v) {
		f.fail(invalid("The specified value for %s is invalid. It must match %s", name, pattern))
	}
	return v
}

func (f *form) number(name string, absent, low, high int64) int64 {
	v := f.str(name)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		f.fail(invalid("The value '%s' of %s must be between %d and %d", v, name, low, high))
		return absent
	}
	return n
}

// members returns the values below NAME.member.N, by what follows N.
func (f *form) members(name string) []map[string]string {
	found := map[int]map[string]string{}
	for key := range f.values {
		rest, ok := strings.CutPrefix(key, name+".member.")
		number, field, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		if found[n] == nil {
			found[n] = map[string]string{}
		}
		found[n][field] = f.str(key)
	}
	var out []map[string]string
	for _, n := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[n])
	}
	return out
}

// maxTags is IAM's limit for one resource.
const maxTags = 50

func (f *form) tags() map[string]string {
	tags := map[string]string{}
	for _, m := range f.members("Tags") {
		key := m["Key"]
		switch _, twice := tags[key]; {
		case key == "" || len(key) > 128 || len(m["Value"]) > 256 || strings.HasPrefix(strings.ToLower(key), "aws:"):
			f.fail(invalid("The tag '%s' is not valid: keys have 1 to 128 characters and do not begin with aws:, values have at most 256", key))
		case twice:
			f.fail(call.Errorf("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."))
		}
		tags[key] = m["Value"]
	}
	if len(tags) > maxTags {
		f.fail(call.Errorf("LimitExceeded", "Cannot exceed quota for TagsPerResource: %d", maxTags).WithStatus(409))
	}
	return tags
}

func (f *form) fail(err error) {
	if f.first == nil {
		f.first = err
	}
}

// checked is called before an action acts.
func (f *form) checked() error {
	if f.first != nil {
		return f.first
	}
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if !f.read[name] {
			return call.Errorf("UnsupportedOperation", "The local cloud does not support the parameter %s of %s.", name, f.values.Get("Action"))
		}
	}
	return nil
}

func invalid(format string, args ...any) *call.Error {
	return call.Errorf("ValidationError", "1 validation error detected: "+format, args...)
}

type tagItem struct {
	Key   string `xml:"Key"`
	Value string `xml:"Value"`
}

func tagItems(tags map[string]string) []tagItem {
	var out []tagItem
	for k, v := range tags {
		out = append(out, tagItem{k, v})
	}
	slices.SortFunc(out, func(a, b tagItem) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// listing is how IAM's lists end.
type listing struct {
	IsTruncated bool   `xml:"IsTruncated"`
	Marker      string `xml:"Marker,omitempty"`
}

// page cuts one page out of rows, which are sorted by key.
func page[T any](s *Service, r *request, rows []T, key func(T) string) ([]T, listing, error) {
	most, marker := int(r.number("MaxItems", 100, 1, 1000)), r.str("Marker")
	if err := r.checked(); err != nil {
		return nil, listing{}, err
	}
	scope := "iam/" + r.Action
	if marker != "" {
		last, ok := s.Store.OpenToken(scope, marker)
		if !ok {
			return nil, listing{}, invalid("The marker is not valid")
		}
		rows = slices.DeleteFunc(rows, func(row T) bool { return key(row) <= last })
	}
	if len(rows) <= most {
		return rows, listing{}, nil
	}
	rows = rows[:most]
	return rows, listing{true, s.Store.Token(scope, key(rows[most-1]))}, nil
}
