// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package rightscript reads the metadata comment of a RightScript and the forms
// of an input value. It is pure: text in, data or all problems out.
package rightscript

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/strictyaml"
)

// Metadata is what a script says about itself.
type Metadata struct {
	Name        string
	Description string
	Packages    string // words separated by white space
	Inputs      []Input
	Attachments []string // file names in attachments/ beside the script
}

// Input types.
const (
	TypeSingle = "single"
	TypeArray  = "array"
)

// Input is one declared variable of a script.
type Input struct {
	Name           string  `json:"name"`
	Category       string  `json:"category,omitempty"`
	Description    string  `json:"description,omitempty"`
	Type           string  `json:"type"`
	Required       bool    `json:"required"`
	Advanced       bool    `json:"advanced,omitempty"`
	Default        Value   `json:"default,omitzero"`
	PossibleValues []Value `json:"possible_values,omitempty"`
}

// Problem is one thing wrong, at a line of the script.
type Problem = strictyaml.Problem

// Problems is every thing wrong with a script.
type Problems []Problem

// Error lists all problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = fmt.Sprintf("line %d: %s", one.Line, one.Text)
	}
	return strings.Join(lines, "\n")
}

// Parse finds and reads the metadata comment of a script. A nil Metadata
// without an error means that the script has none; a non-nil error is Problems.
func Parse(source string) (*Metadata, error) {
	text, offset, found, problem := block(source)
	if problem != nil {
		return nil, Problems{*problem}
	}
	if !found {
		return nil, nil //nolint:nilnil // documented: no comment is not an error
	}
	r := &strictyaml.Reader{Offset: offset}
	meta := &Metadata{}
	if root := r.Parse(text); root != nil {
		readMetadata(r, root, meta)
	}
	if len(r.Problems) > 0 {
		return nil, Problems(r.Problems)
	}
	return meta, nil
}

var blockStart = regexp.MustCompile(`^(#|//|--)([ \t]*)---[ \t]*$`)

// block returns the YAML between the markers and the number of lines before it.
func block(source string) (text string, offset int, found bool, problem *Problem) {
	lines := strings.Split(source, "\n")
	start, marker, indent := -1, "", ""
	for i, line := range lines {
		if m := blockStart.FindStringSubmatch(strings.TrimSuffix(line, "\r")); m != nil {
			start, marker, indent = i, m[1], m[2]
			break
		}
	}
	if start < 0 {
		return "", 0, false, nil
	}
	var out []string
	for i := start + 1; i < len(lines); i++ {
		line := strings.TrimSuffix(lines[i], "\r")
		rest, ok := strings.CutPrefix(line, marker)
		if !ok {
			return "", 0, false, &Problem{Line: i + 1, Text: fmt.Sprintf("the metadata comment that began at line %d is not closed: want a line %q before this one", start+1, marker+indent+"...")}
		}
		switch trimmed := strings.TrimSpace(rest); trimmed {
		case "...":
			return strings.Join(out, "\n") + "\n", start + 1, true, nil
		case "":
			out = append(out, "")
			continue
		}
		body, ok := strings.CutPrefix(rest, indent)
		if !ok {
			return "", 0, false, &Problem{Line: i + 1, Text: fmt.Sprintf("every line of the metadata comment must begin with %q as line %d does", marker+indent, start+1)}
		}
		out = append(out, body)
	}
	return "", 0, false, &Problem{Line: start + 1, Text: fmt.Sprintf("the metadata comment is not closed: want a line %q after it", marker+indent+"...")}
}

func readMetadata(r *strictyaml.Reader, root *yaml.Node, meta *Metadata) {
	hasInputs := false
	r.Object(root, "metadata", strictyaml.Fields{
		"RightScript Name": func(n *yaml.Node) { meta.Name = strings.TrimSpace(r.String(n, "RightScript Name")) },
		"Description":      func(n *yaml.Node) { meta.Description = r.String(n, "Description") },
		"Packages":         func(n *yaml.Node) { meta.Packages = strings.Join(strings.Fields(r.String(n, "Packages")), " ") },
		"Inputs": func(n *yaml.Node) {
			hasInputs = true
			r.Each(n, "Inputs", func(k, v *yaml.Node) { meta.Inputs = append(meta.Inputs, readInput(r, k, v)) })
		},
		"Attachments": func(n *yaml.Node) {
			r.List(n, "Attachments", func(item *yaml.Node) { readAttachment(r, item, meta) })
		},
	})
	if meta.Name == "" {
		r.Add(root, "RightScript Name: is missing; add \"RightScript Name: <name>\"")
	}
	if !hasInputs {
		r.Add(root, "Inputs: the key is missing; add \"Inputs: {}\" for a script without inputs")
	}
}

func readAttachment(r *strictyaml.Reader, n *yaml.Node, meta *Metadata) {
	name := r.String(n, "Attachments")
	if name == "" || strings.ContainsAny(name, "/\\\x00\r\n") || name == "." || name == ".." {
		r.Add(n, "Attachments: %q is not a plain file name", name)
		return
	}
	for _, other := range meta.Attachments {
		if other == name {
			r.Add(n, "Attachments: %q is listed twice", name)
			return
		}
	}
	meta.Attachments = append(meta.Attachments, name)
}

func readInput(r *strictyaml.Reader, key, value *yaml.Node) Input {
	in := Input{Name: key.Value, Type: TypeSingle}
	what := "input " + in.Name
	if err := CheckInputName(in.Name); err != nil {
		r.Add(key, "Inputs: %v", err)
	}
	val := func(n *yaml.Node, field string) Value {
		v, err := ParseValue(r.String(n, what))
		switch {
		case err != nil:
			r.Add(n, "%s: %s: %v", what, field, err)
		case v.Kind == KindInherit:
			r.Add(n, "%s: %s: inherit has nothing below it to inherit from", what, field)
		}
		return v
	}
	r.Object(value, what, strictyaml.Fields{
		"Category":    func(n *yaml.Node) { in.Category = r.String(n, what+": Category") },
		"Description": func(n *yaml.Node) { in.Description = r.String(n, what+": Description") },
		"Input Type": func(n *yaml.Node) {
			in.Type = r.String(n, what+": Input Type")
			if in.Type != TypeSingle && in.Type != TypeArray {
				r.Add(n, "%s: Input Type: want single or array, got %q", what, in.Type)
			}
		},
		"Required": func(n *yaml.Node) { in.Required = r.Bool(n, what+": Required") },
		"Advanced": func(n *yaml.Node) { in.Advanced = r.Bool(n, what+": Advanced") },
		"Default": func(n *yaml.Node) {
			if !strictyaml.IsNull(n) {
				in.Default = val(n, "Default")
			}
		},
		"Possible Values": func(n *yaml.Node) {
			r.List(n, what+": Possible Values", func(item *yaml.Node) {
				in.PossibleValues = append(in.PossibleValues, val(item, "Possible Values"))
			})
		},
	})
	if !in.Default.IsZero() {
		if err := in.Check(in.Default); err != nil {
			r.Add(key, "%s: Default: %v", what, err)
		}
	}
	return in
}

// CheckInputName tells why a name cannot be an input.
func CheckInputName(name string) error {
	switch {
	case !variableName.MatchString(name):
		return fmt.Errorf("%q cannot be an environment variable: use letters, digits and _, not a digit first", shorten(name))
	case strings.HasPrefix(name, "RS_") || strings.HasPrefix(name, "EC2_"):
		return fmt.Errorf("%q is reserved: names that begin with RS_ or EC2_ belong to the agent", name)
	}
	return nil
}

// Check tells why a value does not suit the input. Values whose text is known
// only later (cred:, env:, key:) are not compared with the possible values.
func (in Input) Check(v Value) error {
	switch v.Kind {
	case KindArray:
		if in.Type != TypeArray {
			return fmt.Errorf("%s is a single value, got an array", in.Name)
		}
		for _, item := range v.Items {
			if err := in.checkPossible(item); err != nil {
				return err
			}
		}
		return nil
	case KindText:
		return in.checkPossible(v)
	case KindIgnore:
		if in.Required {
			return fmt.Errorf("%s is required, so it cannot be ignore", in.Name)
		}
	case KindCred, KindEnv, KindKey, KindBlank, KindInherit:
		// No text yet to compare.
	}
	return nil
}

func (in Input) checkPossible(v Value) error {
	if len(in.PossibleValues) == 0 || v.Kind != KindText {
		return nil
	}
	texts := make([]string, len(in.PossibleValues))
	for i, p := range in.PossibleValues {
		if texts[i] = p.String(); texts[i] == v.String() {
			return nil
		}
	}
	return fmt.Errorf("%s does not take %s; possible values: %s", in.Name, v, strings.Join(texts, ", "))
}
