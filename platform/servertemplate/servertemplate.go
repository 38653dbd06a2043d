// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package servertemplate reads a ServerTemplate from the YAML form of the
// right_st tool, together with its scripts and their attachments, and tells
// every problem of all these files at once, by file and line.
package servertemplate

import (
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// Sequence names when a script runs.
type Sequence string

// The three sequences, spelled as in the YAML.
const (
	Boot         Sequence = "Boot"
	Operational  Sequence = "Operational"
	Decommission Sequence = "Decommission"
)

// Sequences lists all sequences in the order in which a server meets them.
func Sequences() []Sequence { return []Sequence{Boot, Operational, Decommission} }

// Limits that protect the platform's memory and the agents' patience.
const (
	MaxSource     = 1 << 20   // a script in bytes; the original took about 64 KiB
	MaxAttachment = 512 << 20 // an attachment in bytes
)

// Template is a loaded ServerTemplate.
type Template struct {
	Path        string // of the file
	Name        string
	Description string
	Inputs      []InputValue
	Bindings    []Binding
	Scripts     []Script
	Images      []Image
	// MultiCloudImages is Images as they are written, and Alerts are data that
	// nothing reads.
	MultiCloudImages []any
	Alerts           []any
	// Warnings are oddities that do not stop an upload.
	Warnings []Problem
}

// InputValue is a value that the template gives to an input of its scripts.
type InputValue struct {
	Name  string
	Value rightscript.Value
}

// Binding puts a script into a sequence. Script is an index into
// Template.Scripts, or -1 when Ref names a script that is in the account
// already. Position starts at 1 within each sequence.
type Binding struct {
	Sequence Sequence
	Position int
	Script   int
	Ref      string
}

// Script is one script file with what it says about itself.
type Script struct {
	Path        string
	Source      string
	Metadata    rightscript.Metadata
	Attachments []Attachment
}

// Attachment is a file on disk; Digest is the SHA-256 in hex.
type Attachment struct {
	Name   string
	Path   string
	Digest string
	Size   int64
}

// Problem is one thing wrong, at a file and line (0 for the file as a whole).
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// String has the form of a compiler's message, which editors understand.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is everything that is wrong with a template.
type Problems []Problem

// Error lists all problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}
