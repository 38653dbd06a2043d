// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// probe is one check at work.
type probe struct {
	*Check
	engine *engine
	*image
}

// as tells a finding of a severity.
func (x *probe) as(s Severity, p string, line int, format string, args ...any) {
	if x.Public && !x.engine.o.Public && s > Info {
		s--
	}
	f := Finding{Check: x.ID, Severity: s, Path: p, Line: line, Evidence: fmt.Sprintf(format, args...), Remedy: x.Remedy}
	x.engine.mu.Lock()
	defer x.engine.mu.Unlock()
	x.engine.found = append(x.engine.found, f)
}

// at tells a finding of the check's severity.
func (x *probe) at(p, format string, args ...any) { x.as(x.Severity, p, 0, format, args...) }

// line tells a finding in a line of a file.
func (x *probe) line(l line, format string, args ...any) {
	x.as(x.Severity, l.path, l.number, format, args...)
}

// skip notes that a part of the check could not be made.
func (x *probe) skip(why string) { x.engine.skip(x.ID, why) }

// file is a check at one file.
type file struct {
	*tree.Entry
	*probe
}

// found tells a finding at the file.
func (x *file) found(format string, args ...any) { x.at(x.Path, format, args...) }

// worse and milder tell a finding of another severity.
func (x *file) level(s Severity, format string, args ...any) { x.as(s, x.Path, 0, format, args...) }

// text is the content of the file.
func (x *file) text() string { return x.Text(x.Path) }

// Judgements that many rules share.

// exists finds anything but directories.
func exists(x *file) {
	if !x.Mode.IsDir() {
		x.found("is there")
	}
}

// filled finds files with content.
func filled(x *file) {
	if x.Regular() && x.Size > 0 {
		x.found("%d bytes", x.Size)
	}
}

// directory finds directories.
func directory(x *file) {
	if x.Mode.IsDir() {
		x.found("a directory")
	}
}

// anything finds whatever is there.
func anything(x *file) { x.found("is there") }

// assigning finds files that give one of the names a value.
func assigning(names ...string) func(*file) {
	return func(x *file) {
		if !x.Regular() {
			return
		}
		for _, l := range x.lines(x.Path) {
			name, value := l.setting()
			if value != "" && slices.Contains(names, strings.ToLower(name)) {
				x.line(l, "sets %s", name)
			}
		}
	}
}

func on(judge func(*file), paths ...string) rule { return rule{paths: paths, judge: judge} }

// labelled reports whether a file has a label of SELinux.
func (x *probe) labelled(p string) bool {
	f, err := x.Open(p)
	if err != nil {
		return true
	}
	defer f.Close() //nolint:errcheck // only read
	_, ok := tree.AttributesOf(f)["security.selinux"]
	return ok
}
