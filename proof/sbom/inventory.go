// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package sbom says what an image is made of: the packages of its database, the
// Go programs in it and the modules that these are made of, as a software bill
// of materials. The image is hostile, as for package verify: nothing of it is
// run, and its links mean paths of the image.
package sbom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// Kinds of packages. They are types of package URLs:
// https://github.com/package-url/purl-spec
const (
	Deb    = "deb"
	RPM    = "rpm"
	APK    = "apk"
	Golang = "golang"
)

// Package is one thing that is installed in an image.
type Package struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch,omitempty"`
	// Source and SourceVersion are the source package, when it differs: what
	// advisories of distributions name.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"source_version,omitempty"`
	// Supplier is who maintains the package, by its own words.
	Supplier string `json:"supplier,omitempty"`
	Licence  string `json:"licence,omitempty"`
	// Path is the program that a Go module is in: the module of the program
	// itself has it as well.
	Path string `json:"path,omitempty"`
	// Main is true for the module of a Go program itself.
	Main bool `json:"main,omitempty"`
}

// System is the operating system of an image, by its os-release.
type System struct {
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Inventory is everything that was found in an image, in an order that depends
// on the image alone.
type Inventory struct {
	System   System    `json:"system"`
	Packages []Package `json:"packages"`
	// Notes say what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Options say how an image is read.
type Options struct {
	// Commands runs the program rpm, which reads the databases of RPM; nil
	// starts real processes.
	Commands run.Runner
	// SkipPrograms leaves out the search for Go programs, which opens every
	// program of the image.
	SkipPrograms bool
}

// Read lists what is installed in the image that is mounted in a directory.
func Read(ctx context.Context, dir string, o Options) (*Inventory, error) {
	t, err := tree.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // only read
	return ReadTree(ctx, t, o)
}

// ReadTree is Read for an image that is open already.
func ReadTree(ctx context.Context, t *tree.Tree, o Options) (*Inventory, error) {
	if o.Commands == nil {
		o.Commands = run.Exec{}
	}
	inv := &Inventory{System: readSystem(t), Packages: []Package{}}
	for _, read := range []func(context.Context, *tree.Tree, Options) ([]Package, error){readDpkg, readApk, readRPM} {
		found, err := read(ctx, t, o)
		var missing *missingError
		switch {
		case errors.As(err, &missing):
			inv.Notes = append(inv.Notes, err.Error())
		case err != nil:
			return nil, err
		}
		inv.Packages = append(inv.Packages, found...)
	}
	if !o.SkipPrograms {
		found, notes := readPrograms(ctx, t)
		inv.Packages = append(inv.Packages, found...)
		inv.Notes = append(inv.Notes, notes...)
	}
	slices.SortFunc(inv.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path), cmp.Compare(b2i(b.Main), b2i(a.Main)),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	inv.Packages = slices.Compact(inv.Packages)
	return inv, ctx.Err()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Count returns how many packages of a kind there are; of Golang, the programs.
func (i *Inventory) Count(kind string) int {
	n := 0
	for _, p := range i.Packages {
		if p.Kind == kind && (kind != Golang || p.Main) {
			n++
		}
	}
	return n
}

// String says in a line what was found.
func (i *Inventory) String() string {
	text := ""
	for _, kind := range []string{Deb, RPM, APK} {
		if n := i.Count(kind); n > 0 {
			text += fmt.Sprintf("%d %s packages, ", n, kind)
		}
	}
	if text == "" {
		text = "no packages, "
	}
	return text + fmt.Sprintf("%d Go programs", i.Count(Golang))
}

// missingError says that something of this machine is missing, so that a part
// of an image could not be read.
type missingError struct{ text string }

func (e *missingError) Error() string { return e.text }
