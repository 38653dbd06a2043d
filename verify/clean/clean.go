// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package clean takes out of an image what must not be in its copies: identity,
// credentials, logs, leftovers. The steps have an order, because later ones would
// bring back what earlier ones removed. It keeps what the image needs to boot,
// and running it again changes nothing.
package clean

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// FreeSpace says what is done with the free space of the file system.
type FreeSpace string

// The ways to deal with free space.
const (
	Trim FreeSpace = "trim" // tell the disk which blocks are free
	Zero FreeSpace = "zero" // trim, or else fill with zeroes
	None FreeSpace = "none"
)

// Options say what is cleaned.
type Options struct {
	// DryRun finds out what would change and changes nothing.
	DryRun bool
	// RemoveUsers are accounts to remove with their homes, such as the build
	// tool's.
	RemoveUsers []string
	// Keep are patterns of paths that stay.
	Keep []string
	// FreeSpace is what is done at the end. Default Trim.
	FreeSpace FreeSpace
	// KeepPackageCache leaves the caches of the package tools.
	KeepPackageCache bool
	// SourceDate, if it is not the zero time, is the latest time that anything in
	// the image may have, so that equal builds make equal images.
	SourceDate time.Time
}

// Change is one thing that was done, or would be.
type Change struct {
	Step   string `json:"step"`
	Action string `json:"action"`
	Path   string `json:"path"`
}

// Result is the record of a clean-up.
type Result struct {
	Target  string   `json:"target"`
	DryRun  bool     `json:"dry_run"`
	Changes []Change `json:"changes"`
	// Dated counts the paths whose times were set back to the source date.
	Dated int `json:"dated,omitempty"`
	// Notes are what the operator should know.
	Notes []string `json:"notes,omitempty"`
	// Freed says what became of the free space.
	Freed string `json:"free_space,omitempty"`
}

// WriteJSON writes the record.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// step is a part of the clean-up.
type step struct {
	name string
	run  func(c *cleaner)
}

// steps are the clean-up, in order.
func steps() []step {
	return []step{
		{"agents", agents},
		{"accounts", accounts},
		{"ssh", ssh},
		{"credentials", credentials},
		{"network", network},
		{"cloud-init", cloudInit},
		{"machine identity", machine}, // no program of the image runs after this
		{"package caches", packages},
		{"temporary files", temporary},
		{"histories", histories},
		{"logs", logs},
		{"modes", modes},
		{"times", times},
	}
}

// Steps are the names of the steps, in order, for the documentation.
func Steps() []string {
	var out []string
	for _, s := range steps() {
		out = append(out, s.name)
	}
	return append(out, "free space")
}

// Run cleans the image that is mounted in a directory. The result lists what was
// done before an error, too.
func Run(ctx context.Context, dir string, o Options) (*Result, error) {
	t, err := tree.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // every file was closed
	c := &cleaner{Tree: t, o: o, homes: verify.Homes(t), result: &Result{Target: dir, DryRun: o.DryRun, Changes: []Change{}}}
	for _, s := range steps() {
		if ctx.Err() != nil {
			return c.result, context.Cause(ctx)
		}
		c.step = s.name
		s.run(c)
	}
	if o.DryRun {
		return c.result, errors.Join(c.failed...)
	}
	c.free()
	return c.result, errors.Join(c.failed...)
}

// cleaner is one run.
type cleaner struct {
	*tree.Tree
	o      Options
	homes  []string
	step   string
	result *Result
	failed []error
}

func (c *cleaner) note(format string, args ...any) {
	c.result.Notes = append(c.result.Notes, fmt.Sprintf(format, args...))
}

// do makes a change, or only records it.
func (c *cleaner) do(action, p string, change func() error) {
	if c.kept(p) {
		return
	}
	if !c.o.DryRun {
		if err := change(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.failed = append(c.failed, fmt.Errorf("%s %s: %w", action, p, err))
			return
		}
	}
	c.result.Changes = append(c.result.Changes, Change{c.step, action, p})
}

// kept reports whether a path, or something that it is in, stays.
func (c *cleaner) kept(p string) bool {
	for _, pattern := range c.o.Keep {
		for q := p; q != "/" && q != "."; q = path.Dir(q) {
			if ok, err := path.Match(pattern, q); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// expand makes paths of patterns; "~/" is every home.
func (c *cleaner) expand(patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		rest, home := strings.CutPrefix(p, "~/")
		if !home {
			out = append(out, c.Glob(p)...)
			continue
		}
		for _, h := range c.homes {
			out = append(out, c.Glob(h+"/"+rest)...)
		}
	}
	return slices.Compact(out)
}

// remove removes files, links, and directories with what is in them. A link is
// removed, never what it leads to.
func (c *cleaner) remove(patterns ...string) {
	for _, p := range c.expand(patterns...) {
		c.removeTree(p)
	}
}

func (c *cleaner) removeTree(p string) {
	info, err := c.Lstat(p)
	if err != nil || c.kept(p) || c.Virtual(path.Dir(p)) {
		return
	}
	if info.IsDir() {
		if c.Virtual(p) {
			return // a mount
		}
		for _, name := range c.ReadDir(p) {
			c.removeTree(path.Join(p, name))
		}
		if !c.o.DryRun && len(c.ReadDir(p)) > 0 {
			return // something in it is kept
		}
	}
	c.do("remove", p, func() error { return c.Remove(p) })
}

// empty removes what is in directories and keeps them.
func (c *cleaner) empty(patterns ...string) {
	for _, dir := range c.expand(patterns...) {
		if info, err := c.Lstat(dir); err != nil || !info.IsDir() || c.Virtual(dir) {
			continue
		}
		for _, name := range c.ReadDir(dir) {
			c.removeTree(path.Join(dir, name))
		}
	}
}

// files removes the regular files below directories and keeps the directories.
func (c *cleaner) files(patterns ...string) {
	for _, p := range c.expand(patterns...) {
		c.below(p, func(p string, info fs.FileInfo) {
			if info.Mode().IsRegular() {
				c.do("remove", p, func() error { return c.Remove(p) })
			}
		})
	}
}

// below visits everything below a path, itself included, without following links.
func (c *cleaner) below(p string, visit func(p string, info fs.FileInfo)) {
	info, err := c.Lstat(p)
	if err != nil || c.Virtual(p) {
		return
	}
	if info.IsDir() {
		for _, name := range c.ReadDir(p) {
			c.below(path.Join(p, name), visit)
		}
	}
	visit(p, info)
}

// truncate empties files that have content.
func (c *cleaner) truncate(patterns ...string) {
	for _, p := range c.expand(patterns...) {
		if info, err := c.Lstat(p); err == nil && info.Mode().IsRegular() && info.Size() > 0 && !c.Virtual(path.Dir(p)) {
			c.do("empty", p, func() error { return c.Truncate(p) })
		}
	}
}

// rewrite changes the lines of text files: edit returns the new line, and false
// for one that goes.
func (c *cleaner) rewrite(action string, patterns []string, edit func(line string) (string, bool)) {
	for _, p := range c.expand(patterns...) {
		info, err := c.Lstat(p)
		if err != nil || !info.Mode().IsRegular() || info.Size() > tree.MaxText {
			continue
		}
		old := c.Text(p)
		var b strings.Builder
		for l := range strings.Lines(old) {
			bare := strings.TrimRight(l, "\n")
			now, stays := edit(bare)
			if !stays {
				continue
			}
			b.WriteString(now)
			if strings.HasSuffix(l, "\n") {
				b.WriteByte('\n')
			}
		}
		if b.String() != old {
			c.do(action, p, func() error { return c.Replace(p, []byte(b.String())) })
		}
	}
}

// free makes free blocks read as zeroes.
func (c *cleaner) free() {
	c.step = "free space"
	if c.o.FreeSpace == None {
		return
	}
	n, err := c.Trim()
	switch {
	case err == nil:
		c.result.Freed = fmt.Sprintf("trimmed %d MiB", n>>20)
	case !errors.Is(err, errors.ErrUnsupported):
		c.failed = append(c.failed, err)
	case c.o.FreeSpace == Zero:
		written, err := c.ZeroFree()
		if err != nil {
			c.failed = append(c.failed, fmt.Errorf("fill the free space with zeroes: %w", err))
		}
		c.result.Freed = fmt.Sprintf("filled %d MiB with zeroes", written>>20)
	default:
		c.note("the disk cannot be trimmed (%v): what was deleted may still be in its free blocks; fill them with zeroes (--free-space zero)", err)
	}
}
