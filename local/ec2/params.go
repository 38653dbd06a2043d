// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

// params is a tree made of the flat parameters of a query request:
// A.1.B=x is the value x under A, 1, B. Reading marks what was read, so that
// unread parameters, which would silently do nothing, can be refused. The first
// malformed value is kept for the end.
type params struct {
	*node
	first *error
}

type node struct {
	path  string
	value string
	given bool
	read  bool
	kids  map[string]*node
}

func newParams(form url.Values) params {
	root := &node{kids: map[string]*node{}}
	for name, values := range form {
		switch name {
		case "Action", "Version", "AWSAccessKeyId", "Timestamp":
			continue
		}
		n := root
		for part := range strings.SplitSeq(name, ".") {
			n = n.kid(part)
		}
		n.path, n.value, n.given = name, values[0], true
	}
	return params{root, new(error)}
}

// kid returns a child, making it when absent.
func (n *node) kid(name string) *node {
	k, ok := n.kids[name]
	if !ok {
		path := name
		if n.path != "" {
			path = n.path + "." + name
		}
		k = &node{path: path, kids: map[string]*node{}}
		n.kids[name] = k
	}
	return k
}

// find goes down a dotted name; nil when nothing is there.
func (n *node) find(name string) *node {
	for part := range strings.SplitSeq(name, ".") {
		k, ok := n.kids[part]
		if !ok {
			return nil
		}
		n = k
	}
	return n
}

// has tells whether a parameter, or anything below it, was given.
func (p params) has(name string) bool { return p.find(name) != nil }

// str returns a value, "" when absent.
func (p params) str(name string) string {
	n := p.find(name)
	if n == nil {
		return ""
	}
	n.read = true
	return n.value
}

// or is str with a default.
func (p params) or(name, absent string) string {
	if s := p.str(name); s != "" {
		return s
	}
	return absent
}

// oneOf is or for values of a closed set.
func (p params) oneOf(name, absent string, valid ...string) string {
	v := p.or(name, absent)
	if v != "" && !slices.Contains(valid, v) {
		p.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Valid values: %s.", v, name, strings.Join(valid, ", ")))
	}
	return v
}

func (p params) flag(name string, absent bool) bool {
	switch v := p.str(name); v {
	case "":
		return absent
	case "true", "1":
		return true
	case "false", "0":
		return false
	default:
		p.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It must be true or false.", v, name))
		return absent
	}
}

func (p params) number(name string, absent, low, high int64) int64 {
	v := p.str(name)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		p.fail(call.Errorf("InvalidParameterValue", "Value ( %s ) for parameter %s is invalid. Expecting a value between %d and %d.", v, name, low, high))
		return absent
	}
	return n
}

// list returns Name.1, Name.2, … in the order of the numbers.
func (p params) list(name string) []string {
	var out []string
	for _, k := range p.numbered(name) {
		k.read = true
		out = append(out, k.value)
	}
	return out
}

// each returns the structures Name.1, Name.2, …
func (p params) each(name string) []params {
	var out []params
	for _, k := range p.numbered(name) {
		out = append(out, params{k, p.first})
	}
	return out
}

func (p params) numbered(name string) []*node {
	n := p.find(name)
	if n == nil {
		return nil
	}
	var numbers []int
	for k := range n.kids {
		i, err := strconv.Atoi(k)
		if err != nil {
			continue // stays unread and is refused
		}
		numbers = append(numbers, i)
	}
	slices.Sort(numbers)
	var out []*node
	for _, i := range numbers {
		if k, ok := n.kids[strconv.Itoa(i)]; ok {
			out = append(out, k)
		}
	}
	return out
}

// ignore marks parameters as read that cannot mean anything on one machine.
func (p params) ignore(names ...string) {
	for _, name := range names {
		if n := p.find(name); n != nil {
			n.readAll()
		}
	}
}

func (n *node) readAll() {
	n.read = true
	for _, k := range n.kids {
		k.readAll()
	}
}

func (p params) fail(err error) {
	if *p.first == nil {
		*p.first = err
	}
}

func (p params) problem() error { return *p.first }

// unread names the given parameters that nobody read.
func (n *node) unread() []string {
	var out []string
	if n.given && !n.read {
		out = append(out, n.path)
	}
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		out = append(out, n.kids[name].unread()...)
	}
	return out
}
