// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package strictyaml reads YAML the strict way: unknown and repeated keys,
// wrong types and aliases are problems, all problems are found in one pass, and
// each carries the line of the file the user wrote, also when the YAML is only
// a part of it.
package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is something wrong at a line.
type Problem struct {
	Line int
	Text string
}

// Reader walks a document and collects problems. Offset is added to every
// line number: the count of lines of the file before the YAML.
type Reader struct {
	Offset   int
	Problems []Problem
}

// Add notes a problem at a node, or at the first line for a nil node.
func (r *Reader) Add(n *yaml.Node, format string, args ...any) {
	line := 1
	if n != nil && n.Line > 0 {
		line = n.Line
	}
	r.Problems = append(r.Problems, Problem{Line: line + r.Offset, Text: fmt.Sprintf(format, args...)})
}

var lineInError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// Parse returns the root node of the only document in text, or nil after
// noting why there is none.
func (r *Reader) Parse(text string) *yaml.Node {
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		r.addSyntax(err)
		return nil
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			r.addSyntax(err)
		} else {
			r.Add(&more, "more than one YAML document")
		}
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.Add(nil, "the YAML is empty")
		return nil
	}
	return doc.Content[0]
}

func (r *Reader) addSyntax(err error) {
	if errors.Is(err, io.EOF) {
		r.Add(nil, "the YAML is empty")
		return
	}
	line, text := 1, err.Error()
	if m := lineInError.FindStringSubmatch(strings.SplitN(text, "\n", 2)[0]); m != nil {
		text = m[2]
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = n
		}
	}
	r.Problems = append(r.Problems, Problem{Line: line + r.Offset, Text: "not valid YAML: " + text})
}

// Fields maps a known key to what reads its value.
type Fields map[string]func(*yaml.Node)

// Object reads a mapping whose keys must all be in fields.
func (r *Reader) Object(n *yaml.Node, what string, fields Fields) {
	known := make([]string, 0, len(fields))
	for k := range fields {
		known = append(known, k)
	}
	slices.Sort(known)
	r.Each(n, what, func(key, value *yaml.Node) {
		read, ok := fields[key.Value]
		if !ok {
			r.Add(key, "%s: unknown key %q; known keys: %s", what, key.Value, strings.Join(known, ", "))
			return
		}
		read(value)
	})
}

// Each calls fn for every pair of a mapping, in order; repeated keys are a
// problem. A null or absent node is an empty mapping.
func (r *Reader) Each(n *yaml.Node, what string, fn func(key, value *yaml.Node)) {
	if IsNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.Add(n, "%s: want a mapping (KEY: value), got %s", what, kindName(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.Add(key, "%s: a key must be a plain word", what)
		case seen[key.Value]:
			r.Add(key, "%s: key %q is given twice", what, key.Value)
		default:
			seen[key.Value] = true
			fn(key, value)
		}
	}
}

// List calls fn for every item of a sequence. A null node is an empty list.
func (r *Reader) List(n *yaml.Node, what string, fn func(*yaml.Node)) {
	if IsNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.Add(n, "%s: want a list, got %s", what, kindName(n))
		return
	}
	for _, item := range n.Content {
		fn(item)
	}
}

// String reads a scalar; null is the empty string.
func (r *Reader) String(n *yaml.Node, what string) string {
	if IsNull(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		r.Add(n, "%s: want text, got %s", what, kindName(n))
		return ""
	}
	return n.Value
}

// Bool reads true or false; null is false.
func (r *Reader) Bool(n *yaml.Node, what string) bool {
	if IsNull(n) {
		return false
	}
	var v bool
	if n.Kind != yaml.ScalarNode || n.Decode(&v) != nil {
		r.Add(n, "%s: want true or false, got %s", what, describe(n))
		return false
	}
	return v
}

// Int reads an integer.
func (r *Reader) Int(n *yaml.Node, what string) int {
	var v int
	if n.Kind != yaml.ScalarNode || n.Decode(&v) != nil {
		r.Add(n, "%s: want a whole number, got %s", what, describe(n))
	}
	return v
}

// Data turns a node into plain data (maps, slices, strings) for keeping it as
// JSON. Scalars that are not booleans or null stay text.
func (r *Reader) Data(n *yaml.Node, what string) any {
	switch {
	case IsNull(n):
		return nil
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		r.Each(n, what, func(k, v *yaml.Node) { m[k.Value] = r.Data(v, what+"."+k.Value) })
		return m
	case n.Kind == yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		r.List(n, what, func(v *yaml.Node) { list = append(list, r.Data(v, what)) })
		return list
	case n.Kind == yaml.ScalarNode && n.Tag == "!!bool":
		return r.Bool(n, what)
	}
	return r.String(n, what)
}

// IsNull tells whether a node is absent or null.
func IsNull(n *yaml.Node) bool {
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func describe(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return strconv.Quote(n.Value)
	}
	return kindName(n)
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (*" + n.Value + "), which is not supported here"
	default:
		return strconv.Quote(n.Value)
	}
}
