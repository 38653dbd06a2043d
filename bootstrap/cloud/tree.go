// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"slices"
	"strings"
)

// Tree is a node of the metadata tree: a leaf with a value, or a directory with
// children in the order of the service's listing.
type Tree struct {
	Name     string
	Value    string
	Children []*Tree
	Dir      bool
}

// Get returns the leaf at the path: Get("placement", "availability-zone").
func (t *Tree) Get(path ...string) (string, bool) {
	node := t
	for _, name := range path {
		if node == nil {
			return "", false
		}
		i := slices.IndexFunc(node.Children, func(c *Tree) bool { return c.Name == name })
		if i < 0 {
			return "", false
		}
		node = node.Children[i]
	}
	if node == nil || node.Dir {
		return "", false
	}
	return node.Value, true
}

// Walk calls fn for every leaf, in order, with its path.
func (t *Tree) Walk(fn func(path []string, value string)) {
	if t == nil {
		return
	}
	var walk func(node *Tree, path []string)
	walk = func(node *Tree, path []string) {
		for _, c := range node.Children {
			p := slices.Concat(path, []string{c.Name})
			if c.Dir {
				walk(c, p)
				continue
			}
			fn(p, c.Value)
		}
	}
	walk(t, nil)
}

// Empty says that the tree has no leaf.
func (t *Tree) Empty() bool {
	empty := true
	t.Walk(func([]string, string) { empty = false })
	return empty
}

// entry is one line of a directory listing.
type entry struct {
	name string
	dir  bool
}

// parseListing reads a directory's body: one entry per line, a directory ends
// in "/", and "0=name" (the list of ssh keys) is the directory "0". Entries that
// are no single path component are dropped; so are repeated ones.
func parseListing(body string) []entry {
	var entries []entry
	seen := map[string]bool{}
	for l := range strings.SplitSeq(body, "\n") {
		l = strings.TrimSpace(l)
		e := entry{name: l}
		switch index, _, key := strings.Cut(l, "="); {
		case strings.HasSuffix(l, "/"):
			e = entry{strings.TrimSuffix(l, "/"), true}
		case key && index != "" && strings.Trim(index, "0123456789") == "":
			e = entry{index, true}
		}
		if e.name == "" || e.name == "." || e.name == ".." || strings.ContainsAny(e.name, "/\x00") || seen[e.name] {
			continue
		}
		seen[e.name] = true
		entries = append(entries, e)
	}
	return entries
}
