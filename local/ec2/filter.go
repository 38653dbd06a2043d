// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

const maxFilterValues = 200

// filter is one Filter.N of a Describe action: any of the values must match.
type filter struct {
	name   string
	values []*regexp.Regexp
}

func (p params) filters() []filter {
	var out []filter
	for _, f := range p.each("Filter") {
		one := filter{name: f.str("Name")}
		if one.name == "" {
			p.fail(missing(f.path + ".Name"))
		}
		values := f.list("Value")
		if len(values) == 0 {
			p.fail(call.Errorf("InvalidParameterValue", "The filter '%s' has no value.", one.name))
		}
		if len(values) > maxFilterValues {
			p.fail(call.Errorf("FilterLimitExceeded", "The filter '%s' has more than %d values.", one.name, maxFilterValues))
		}
		for _, v := range values {
			one.values = append(one.values, wildcard(v))
		}
		out = append(out, one)
	}
	return out
}

// wildcard makes a pattern of a filter value: * is any text, ? any character,
// a backslash takes the meaning away.
func wildcard(value string) *regexp.Regexp {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	escaped := false
	for _, r := range value {
		switch {
		case escaped:
			re.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			re.WriteString(".*")
		case r == '?':
			re.WriteString(".")
		default:
			re.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(re.String() + `\z`)
}

func (f filter) matches(have []string) bool {
	return slices.ContainsFunc(f.values, func(re *regexp.Regexp) bool { return slices.ContainsFunc(have, re.MatchString) })
}

// attributes are what a kind of record can be filtered by. Filters by tag are
// common to all.
type attributes[T any] struct {
	fields map[string]func(T) []string
	tags   func(T) map[string]string
}

// keep returns the rows that pass all filters; an unknown filter is an error.
func (a attributes[T]) keep(rows []T, filters []filter) ([]T, error) {
	for _, f := range filters {
		value, err := a.reader(f.name)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(row T) bool { return !f.matches(value(row)) })
	}
	return rows, nil
}

func (a attributes[T]) reader(name string) (func(T) []string, error) {
	if read, ok := a.fields[name]; ok {
		return read, nil
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok && a.tags != nil {
		return func(row T) []string {
			v, ok := a.tags(row)[key]
			if !ok {
				return nil
			}
			return []string{v}
		}, nil
	}
	if name == "tag-key" && a.tags != nil {
		return func(row T) []string {
			var keys []string
			for k := range a.tags(row) {
				keys = append(keys, k)
			}
			return keys
		}, nil
	}
	return nil, call.Errorf("InvalidParameterValue", "The filter '%s' is invalid", name)
}

// only is the reader of a single value.
func only[T any](f func(T) string) func(T) []string {
	return func(row T) []string { return []string{f(row)} }
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func boolText[T any](f func(T) bool) func(T) []string {
	return func(row T) []string { return []string{strconv.FormatBool(f(row))} }
}

// paging is MaxResults and NextToken of a Describe action.
type paging struct {
	max   int
	token string
}

// paging reads the parameters; low is the smallest page that the action allows.
func (p params) paging(low int64) paging {
	return paging{int(p.number("MaxResults", 0, low, 1000)), p.str("NextToken")}
}

// page cuts one page out of rows, which come in a stable order, and returns the
// token of the next one. The token carries the key of the last row seen, so that
// rows that come or go meanwhile do not shift the pages.
func page[T any](s *Service, r *request, pg paging, rows []T, key func(T) string) ([]T, string, error) {
	scope := "ec2/" + r.Action + "/" + r.Region
	if pg.token != "" {
		last, ok := s.Store.OpenToken(scope, pg.token)
		if !ok {
			return nil, "", call.Errorf("InvalidNextToken", "The specified NextToken is not valid.")
		}
		at := slices.IndexFunc(rows, func(row T) bool { return key(row) > last })
		if at < 0 {
			at = len(rows)
		}
		rows = rows[at:]
	}
	if pg.max == 0 || len(rows) <= pg.max {
		return rows, "", nil
	}
	rows = rows[:pg.max]
	return rows, s.Store.Token(scope, key(rows[len(rows)-1])), nil
}
