// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package imagediff says how two images differ: packages, configuration, other
// files, size. It is for release notes, so that times do not count, and files
// that packages bring are counted and not listed.
package imagediff

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// Action says what became of a thing.
type Action string

// The actions.
const (
	Added   Action = "added"
	Removed Action = "removed"
	Changed Action = "changed"
)

// Side is one of the two images.
type Side struct {
	Target string      `json:"target"`
	System sbom.System `json:"system"`
	// Files counts names, Bytes what regular files hold, hard links once.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// PackageChange is a package that is not the same in both images.
type PackageChange struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Arch   string `json:"arch,omitempty"`
	// Path is the program that a Go module is in; Main is true for its own.
	Path string `json:"path,omitempty"`
	Main bool   `json:"main,omitempty"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// FileChange is a file that is not the same in both images.
type FileChange struct {
	Action Action `json:"action"`
	Path   string `json:"path"`
	// What differs: type, content, mode, owner, link.
	What []string `json:"what,omitempty"`
	// From and To are sizes in bytes.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
}

// Counts are files of packages: they follow from the packages.
type Counts struct {
	Added   int   `json:"added"`
	Removed int   `json:"removed"`
	Changed int   `json:"changed"`
	Bytes   int64 `json:"bytes"` // more, or with a minus less
}

// Result is everything in which two images differ.
type Result struct {
	From     Side            `json:"from"`
	To       Side            `json:"to"`
	Packages []PackageChange `json:"packages"`
	// Configuration are files below /etc and of the boot loader, whoever brought
	// them; Files are all others that neither a package nor its database has brought.
	Configuration []FileChange `json:"configuration"`
	Files         []FileChange `json:"files"`
	PackageFiles  Counts       `json:"package_files"`
	Notes         []string     `json:"notes,omitempty"`
}

// Same reports whether the images differ in nothing.
func (r *Result) Same() bool {
	return len(r.Packages) == 0 && len(r.Configuration) == 0 && len(r.Files) == 0 && r.PackageFiles == Counts{}
}

// Compare compares the images that are mounted in two directories.
func Compare(ctx context.Context, from, to string, o sbom.Options) (*Result, error) {
	a, err := read(ctx, from, o)
	if err != nil {
		return nil, err
	}
	defer a.tree.Close() //nolint:errcheck // only read
	b, err := read(ctx, to, o)
	if err != nil {
		return nil, err
	}
	defer b.tree.Close() //nolint:errcheck // only read
	r := &Result{
		From: a.side, To: b.side, Packages: packages(a.inventory.Packages, b.inventory.Packages),
		Configuration: []FileChange{}, Files: []FileChange{},
	}
	for _, n := range append(a.inventory.Notes, b.inventory.Notes...) {
		if !slices.Contains(r.Notes, n) {
			r.Notes = append(r.Notes, n)
		}
	}
	changes, err := compareFiles(ctx, a, b)
	if err != nil {
		return nil, err
	}
	ofA, ofB := verify.Owned(a.tree), verify.Owned(b.tree)
	for _, c := range changes {
		oldOwned, _ := ofA(c.Path)
		newOwned, _ := ofB(c.Path)
		switch {
		case configuration(c.Path):
			r.Configuration = append(r.Configuration, c)
		case oldOwned || newOwned || database(c.Path):
			r.PackageFiles.add(c)
		default:
			r.Files = append(r.Files, c)
		}
	}
	return r, ctx.Err()
}

func (c *Counts) add(f FileChange) {
	switch f.Action {
	case Added:
		c.Added++
	case Removed:
		c.Removed++
	case Changed:
		c.Changed++
	}
	c.Bytes += f.To - f.From
}

// packages compares two lists of packages. Several versions of one, such as
// those of a kernel that is kept, are compared as sets.
func packages(from, to []sbom.Package) []PackageChange {
	versions := func(list []sbom.Package) map[PackageChange][]string {
		out := map[PackageChange][]string{}
		for _, p := range list {
			k := PackageChange{Kind: p.Kind, Name: p.Name, Arch: p.Arch, Path: p.Path, Main: p.Main}
			out[k] = append(out[k], p.Version)
		}
		return out
	}
	a, b := versions(from), versions(to)
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	out := []PackageChange{}
	for k := range keys {
		before, after := without(a[k], b[k]), without(b[k], a[k])
		for i := range max(len(before), len(after)) {
			c := k
			if i < len(before) {
				c.From = before[i]
			}
			if i < len(after) {
				c.To = after[i]
			}
			switch {
			case i < len(before) && i < len(after):
				c.Action = Changed
			case i < len(before):
				c.Action = Removed
			default:
				c.Action = Added
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(x, y PackageChange) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Name, y.Name),
			cmp.Compare(x.Arch, y.Arch), cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To))
	})
	return out
}

// without returns the elements of list that other has not.
func without(list, other []string) []string {
	out := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
	slices.Sort(out)
	return out
}

// image is one image, read.
type image struct {
	tree      *tree.Tree
	side      Side
	inventory *sbom.Inventory
	files     map[string]file
}

func read(ctx context.Context, dir string, o sbom.Options) (_ *image, err error) {
	t, err := tree.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = t.Close() // only read
		}
	}()
	i := &image{tree: t}
	if i.inventory, err = sbom.ReadTree(ctx, t, o); err != nil {
		return nil, err
	}
	i.side = Side{Target: dir, System: i.inventory.System}
	return i, i.walk(ctx)
}
