// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Render prints the status for people: the machine first, then a line per
// stage with what it changed below.
func (s *Status) Render(w io.Writer) error {
	var b strings.Builder
	s.renderMachine(&b)
	if len(s.Stages) == 0 {
		b.WriteString("No stage has run on this instance yet.\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "STAGE\tRESULT\tSTARTED\tTOOK\tDETAIL")
	for _, st := range s.Stages {
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", clean(st.Name), clean(string(st.Result)), stamp(st.Started), took(st), clean(st.Detail))
	}
	_ = tw.Flush() // a Builder never fails
	for _, st := range s.Stages {
		if len(st.Changed) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s changed:\n", clean(st.Name))
		for _, c := range st.Changed {
			fmt.Fprintf(&b, "  - %s\n", clean(c))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Status) renderMachine(b *strings.Builder) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%-10s %s\n", name, clean(value))
		}
	}
	line("Instance", s.InstanceID)
	if f := s.Facts; f != nil {
		name := f.PrettyName
		if name == "" {
			name = strings.TrimSpace(f.ID + " " + f.Version)
		}
		line("System", name+", "+f.Arch)
		line("Init", string(f.Init))
		virt := f.Virt
		if f.Container != "" {
			virt += ", container " + f.Container
		}
		line("Cloud", f.Cloud+" (from "+f.CloudSource+"), virtualisation "+virt)
	}
	line("Bootstrap", s.Version)
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
}

// clean keeps a value on its line and the terminal sane.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func took(st Stage) string {
	if st.Finished.IsZero() {
		return "-"
	}
	return st.Finished.Sub(st.Started).String()
}
