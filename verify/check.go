// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package verify inspects a root directory (a mounted disk, a chroot, or the
// machine itself) for what must not be in a public image, or what would keep it
// from working. A check is a small value; one walk of the tree feeds all of them.
// It only reads, and the image is taken for hostile.
package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity int

// The severities. A blocker stops publication, a warning wants a waiver with a
// reason, info is only told.
const (
	Info Severity = iota
	Warning
	Blocker
)

// Severities are the names, by their value.
func Severities() []string { return []string{"info", "warning", "blocker"} }

// String returns the name.
func (s Severity) String() string { return Severities()[s] }

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(Severities(), string(text))
	if i < 0 {
		return fmt.Errorf("%q is no severity; it is one of %s", text, strings.Join(Severities(), ", "))
	}
	*s = Severity(i)
	return nil
}

// Class says where the evidence of a check is.
type Class string

// The classes of checks that this package knows.
const (
	Disk Class = "disk" // the files of the mounted image
	Raw  Class = "raw"  // the blocks of the disk, what is deleted included
	Boot Class = "boot" // a machine that was launched from the image
)

// Check is one thing that has to be true of an image.
type Check struct {
	// ID names the check in reports and waivers.
	ID string
	// Class is where it looks.
	Class Class
	// Severity is that of its findings, unless they say otherwise.
	Severity Severity
	// Public checks are about publication: on a private image their findings are
	// one severity lower.
	Public bool
	// Pass is what has to be true.
	Pass string
	// Remedy is what to do about a finding.
	Remedy string
	// Cleans says that the clean-up repairs it.
	Cleans bool

	// rules judge single files as the walk meets them.
	rules []rule
	// whole looks at the image once the walk is over.
	whole func(x *probe)
}

// rule is a judgement of the files that one of the paths stands for.
type rule struct {
	paths []string
	judge func(x *file)
}

// Finding is one thing that is wrong. Evidence never repeats a secret.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Path     string   `json:"path,omitempty"`
	Line     int      `json:"line,omitempty"`
	Evidence string   `json:"evidence"`
	Remedy   string   `json:"remedy,omitempty"`
	// Waived is the reason for which the finding is accepted.
	Waived string `json:"waived,omitempty"`
	// Note says why a waiver does not count.
	Note string `json:"note,omitempty"`
}

// Where is the place of a finding, for people.
func (f Finding) Where() string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", f.Path, f.Line)
	}
	return f.Path
}

// Skipped is a check, or a part of one, that could not be made.
type Skipped struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

// Report is the result of a verification.
type Report struct {
	// Target is what was looked at.
	Target string `json:"target"`
	// System is how the image names its operating system.
	System string `json:"system,omitempty"`
	Public bool   `json:"public"`
	// Files, Bytes and Seconds say how much was read.
	Files    int64     `json:"files"`
	Bytes    int64     `json:"bytes"`
	Seconds  float64   `json:"seconds"`
	Checks   []string  `json:"checks"`
	Skipped  []Skipped `json:"skipped,omitempty"`
	Findings []Finding `json:"findings"`
	// Unused are waivers that no finding needed.
	Unused []Waiver `json:"unused_waivers,omitempty"`
}

// Open returns the findings of at least that severity that nobody has waived.
func (r *Report) Open(least Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Severity >= least && f.Waived == "" {
			out = append(out, f)
		}
	}
	return out
}

// Merge takes in the findings of another report, such as that of the raw disk.
func (r *Report) Merge(o *Report) {
	r.Files += o.Files
	r.Bytes += o.Bytes
	r.Seconds += o.Seconds
	r.Checks = append(r.Checks, o.Checks...)
	r.Skipped = append(r.Skipped, o.Skipped...)
	r.Findings = append(r.Findings, o.Findings...)
	r.Sort()
}

// Sort orders the findings: the worst first, then by check and path.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if a.Severity != b.Severity {
			return int(b.Severity) - int(a.Severity)
		}
		return strings.Compare(a.Check+"\x00"+a.Path+"\x00"+a.Evidence, b.Check+"\x00"+b.Path+"\x00"+b.Evidence)
	})
}

// ReadJSON reads a report that was written as JSON.
func ReadJSON(data []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	return &r, nil
}
