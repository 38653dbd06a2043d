// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Waiver accepts findings of a check, for a reason and until a day.
type Waiver struct {
	// ID is the check.
	ID string `yaml:"id" json:"id"`
	// Path is a pattern of the paths that are accepted: * stands for no slash, a
	// last element ** for everything below. Findings without a path need "*".
	Path string `yaml:"path" json:"path"`
	// Reason is shown in reports.
	Reason string `yaml:"reason" json:"reason"`
	// Expires is the last day on which the waiver counts, as 2006-01-02.
	Expires string `yaml:"expires" json:"expires"`
}

// ReadWaivers reads a file of waivers and tells all its mistakes at once.
func ReadWaivers(file string) ([]Waiver, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := ParseWaivers(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// ParseWaivers reads the text of such a file.
func ParseWaivers(data []byte) ([]Waiver, error) {
	var doc struct {
		Waivers []Waiver `yaml:"waivers"`
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var problems []error
	for i, w := range doc.Waivers {
		bad := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("waiver %d: %s", i+1, fmt.Sprintf(format, args...)))
		}
		if Find(w.ID) == nil {
			bad("id: there is no check %q", w.ID)
		}
		if w.Path != "*" && !strings.HasPrefix(w.Path, "/") {
			bad("path: %q is no path of an image; it begins with a slash, or is * for all", w.Path)
		}
		if strings.TrimSpace(w.Reason) == "" {
			bad("reason: say why the finding is accepted")
		}
		if _, err := time.Parse(time.DateOnly, w.Expires); err != nil {
			bad("expires: %q is no day; write it as 2027-01-31", w.Expires)
		}
	}
	return doc.Waivers, errors.Join(problems...)
}

// covers reports whether a waiver is about a finding.
func (w Waiver) covers(f Finding) bool {
	return w.ID == f.Check && (w.Path == "*" || f.Path != "" && matchPath(w.Path, f.Path))
}

// expired reports whether the last day of a waiver is over.
func (w Waiver) expired(now time.Time) bool {
	last, err := time.Parse(time.DateOnly, w.Expires)
	return err != nil || !now.Before(last.AddDate(0, 0, 1))
}

// Waive applies waivers to a report, such as one that was made without them.
func (r *Report) Waive(waivers []Waiver, now time.Time) { r.apply(waivers, now) }

// apply marks the findings that waivers accept, and lists waivers that are not
// needed.
func (r *Report) apply(waivers []Waiver, now time.Time) {
	for _, w := range waivers {
		used := false
		for i := range r.Findings {
			f := &r.Findings[i]
			switch {
			case !w.covers(*f):
				continue
			case w.expired(now):
				f.Note = "its waiver expired on " + w.Expires
			case f.Waived == "":
				f.Waived, f.Note = w.Reason+" (until "+w.Expires+")", ""
			}
			used = true
		}
		if !used {
			r.Unused = append(r.Unused, w)
		}
	}
}
