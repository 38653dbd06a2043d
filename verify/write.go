// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Formats are the forms in which a report can be written.
func Formats() []string { return []string{"table", "json", "sarif", "junit", "html"} }

// Write writes the report in one of the formats.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "table":
		return r.table(w)
	case "json":
		return r.json(w)
	case "sarif":
		return r.sarif(w)
	case "junit":
		return r.junit(w)
	case "html":
		return r.html(w)
	default:
		return fmt.Errorf("format %q is not known; it is one of %s", format, strings.Join(Formats(), ", "))
	}
}

func (r *Report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Summary is the report in one line.
func (r *Report) Summary() string {
	var parts []string
	for s := Blocker; s >= Info; s-- {
		n := 0
		for _, f := range r.Findings {
			if f.Severity == s && f.Waived == "" {
				n++
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, plural(s.String(), n)))
	}
	waived := 0
	for _, f := range r.Findings {
		if f.Waived != "" {
			waived++
		}
	}
	if waived > 0 {
		parts = append(parts, fmt.Sprintf("%d waived", waived))
	}
	return fmt.Sprintf("%s; %d checks, %d files, %d MiB read in %.1f s", strings.Join(parts, ", "), len(r.Checks), r.Files, r.Bytes>>20, r.Seconds)
}

func plural(word string, n int) string {
	if n == 1 || word == "info" {
		return word
	}
	return word + "s"
}

// safe makes text of an image fit for a terminal: no control characters.
func safe(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || !unicode.IsPrint(c) && c != ' ' {
			return '?'
		}
		return c
	}, s)
}

// table is the report for people.
func (r *Report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(r.Findings) > 0 {
		fmt.Fprintln(t, "SEVERITY\tCHECK\tWHERE\tFINDING")
	}
	for _, f := range r.Findings {
		text := f.Evidence
		severity := f.Severity.String()
		if f.Waived != "" {
			severity, text = "waived", text+"; waived: "+f.Waived
		}
		if f.Note != "" {
			text += "; " + f.Note
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", severity, f.Check, safe(f.Where()), safe(text))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, id := range r.remedies() {
		fmt.Fprintf(w, "%s: %s\n", id, Find(id).Remedy)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "skipped: %s\n", safe(strings.TrimPrefix(s.Check+": "+s.Why, ": ")))
	}
	for _, u := range r.Unused {
		fmt.Fprintf(w, "waiver not needed: %s %s\n", u.ID, u.Path)
	}
	_, err := fmt.Fprintln(w, r.Summary())
	return err
}

// remedies are the checks whose remedy somebody has to read.
func (r *Report) remedies() []string {
	var out []string
	for _, f := range r.Open(Warning) {
		if !slices.Contains(out, f.Check) && Find(f.Check) != nil {
			out = append(out, f.Check)
		}
	}
	return out
}

// Markdown is the table of all checks for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| check | severity | about | what must be true | clean repairs it |\n|---|---|---|---|---|\n")
	for _, c := range Checks() {
		about, repairs := "every image", ""
		if c.Public {
			about = "public images"
		}
		if c.Cleans {
			repairs = "yes"
		}
		switch c.Class {
		case Raw:
			about += ", raw disk"
		case Boot:
			about += ", boot test"
		case Disk:
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.ID, c.Severity, about, strings.ReplaceAll(c.Pass, "|", "\\|"), repairs)
	}
	return b.String()
}
