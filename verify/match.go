// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"strings"
)

// matcher finds the rules whose paths a file has. Paths begin with "/", with "~/"
// for every home, or are patterns of a base name; "*" stands for no slash, a
// last element "**" for everything below.
type matcher struct {
	homes map[string]bool
	below map[string][]target // by the literal directory of a pattern
	home  map[string][]target // likewise, relative to a home
	base  map[string][]target // by literal base name, or by extension as "*.ext"
	globs []target            // other patterns of base names
}

// target is a rule of a check with one of its patterns.
type target struct {
	rest  string // of the pattern, below the literal directory
	check *Check
	judge func(x *file)
}

func newMatcher(checks []*Check, homes []string) *matcher {
	m := &matcher{homes: map[string]bool{}, below: map[string][]target{}, home: map[string][]target{}, base: map[string][]target{}}
	for _, h := range homes {
		m.homes[h] = true
	}
	for _, c := range checks {
		for _, r := range c.rules {
			for _, p := range r.paths {
				m.add(p, target{check: c, judge: r.judge})
			}
		}
	}
	return m
}

func (m *matcher) add(pattern string, t target) {
	into := m.below
	switch {
	case strings.HasPrefix(pattern, "~/"):
		into, pattern = m.home, pattern[1:]
	case !strings.HasPrefix(pattern, "/"):
		t.rest = pattern
		if stem := strings.TrimPrefix(pattern, "*"); !strings.ContainsAny(stem, "*?[") && (stem == pattern || strings.LastIndexByte(stem, '.') == 0) {
			m.base[pattern] = append(m.base[pattern], t)
			return
		}
		m.globs = append(m.globs, t)
		return
	}
	segments := strings.Split(pattern[1:], "/")
	n := 0
	for n < len(segments)-1 && !strings.ContainsAny(segments[n], "*?[") {
		n++
	}
	dir := "/" + strings.Join(segments[:n], "/")
	t.rest = strings.Join(segments[n:], "/")
	into[dir] = append(into[dir], t)
}

// each calls hit for every rule that wants the path.
func (m *matcher) each(p string, hit func(target)) {
	name := path.Base(p)
	m.ancestors(m.below, p, hit)
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		if m.homes[dir] {
			m.ancestors(m.home, strings.TrimPrefix(p, strings.TrimSuffix(dir, "/")), hit)
		}
		if dir == "/" {
			break
		}
	}
	for _, t := range m.base[name] {
		hit(t)
	}
	if ext := path.Ext(name); ext != "" && ext != name {
		for _, t := range m.base["*"+ext] {
			hit(t)
		}
	}
	for _, t := range m.globs {
		if ok, err := path.Match(t.rest, name); ok && err == nil {
			hit(t)
		}
	}
}

// ancestors looks for rules at every directory that a path is below.
func (m *matcher) ancestors(from map[string][]target, p string, hit func(target)) {
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		for _, t := range from[dir] {
			if rest := strings.TrimPrefix(p[len(strings.TrimSuffix(dir, "/")):], "/"); matches(t.rest, rest) {
				hit(t)
			}
		}
		if dir == "/" {
			return
		}
	}
}

// matches compares a path with a pattern, both without a first slash.
func matches(pattern, p string) bool {
	first, rest, more := strings.Cut(pattern, "/")
	if first == "**" {
		if !more {
			return p != ""
		}
		for {
			if matches(rest, p) {
				return true
			}
			_, after, ok := strings.Cut(p, "/")
			if !ok {
				return false
			}
			p = after
		}
	}
	name, below, deeper := strings.Cut(p, "/")
	if more != deeper { // one of them goes on
		return false
	}
	if first != name {
		if ok, err := path.Match(first, name); !ok || err != nil {
			return false
		}
	}
	return !more || matches(rest, below)
}

// matchPath compares a path of the image with a pattern that begins with "/".
func matchPath(pattern, p string) bool {
	return matches(strings.TrimPrefix(pattern, "/"), strings.TrimPrefix(p, "/"))
}
