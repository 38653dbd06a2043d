// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

// Tree is a node of the metadata tree: a leaf with a value, or a directory with
// children in the order of the service's listing.
type Tree struct {
	Name     string
	Value    string
	Children []*Tree
	Dir      bool
}

// Get returns the leaf at the path, "placement", "availability-zone".
func (t *Tree) Get(path ...string) (string, bool) { return "", false }

// Walk calls fn for every leaf, in order, with its path.
func (t *Tree) Walk(fn func(path []string, value string)) {}

// Empty says that the tree has no leaf.
func (t *Tree) Empty() bool { return true }
