// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package servertemplate

import (
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// checkNames refuses two files with the same RightScript Name: scripts are kept
// by name, so one would replace the other.
func (l *loader) checkNames() {
	first := map[string]string{}
	for _, s := range l.tmpl.Scripts {
		if other, taken := first[s.Metadata.Name]; taken {
			l.add(s.Path, 0, "RightScript Name %q is also the name of %s; names must differ", s.Metadata.Name, other)
			continue
		}
		first[s.Metadata.Name] = s.Path
	}
}

// checkInputs compares the template's values with what the scripts declare.
func (l *loader) checkInputs() {
	refs := slices.ContainsFunc(l.tmpl.Bindings, func(b Binding) bool { return b.Script < 0 })
	for _, iv := range l.tmpl.Inputs {
		line := l.inputAt[iv.Name].Line
		declared := false
		for _, s := range l.tmpl.Scripts {
			for _, in := range s.Metadata.Inputs {
				if in.Name != iv.Name {
					continue
				}
				declared = true
				if err := in.Check(iv.Value); err != nil {
					l.add(l.file, line, "Inputs: %v (declared in %s)", err, s.Path)
				}
			}
		}
		if !declared && !refs {
			l.tmpl.Warnings = append(l.tmpl.Warnings, Problem{File: l.file, Line: line,
				Text: "Inputs: " + iv.Name + " is not an input of any script of this ServerTemplate"})
		}
	}
}

// InputNames lists the names that the scripts declare, sorted.
func InputNames(lists ...[]rightscript.Input) []string {
	var names []string
	for _, list := range lists {
		for _, in := range list {
			names = append(names, in.Name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}
