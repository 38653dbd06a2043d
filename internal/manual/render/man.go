// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package render

import (
	"fmt"
	"strings"
)

// Man returns the man page of a program, for a section of the manual. It names no
// version and no date, so that it changes only when the program does.
func (p Program) Man(section string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH \"%s\" \"%s\" \"\" \"RightImage\" \"RightImage manual\"\n", strings.ToUpper(p.Name), section)
	// Long words, such as paths, must not be torn.
	b.WriteString(".nh\n.ad l\n")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(p.Name), roff(p.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(p.Name), roff(p.Synopsis))
	b.WriteString(".SH DESCRIPTION\n")
	if p.Verbatim {
		verbatim(&b, p.Long)
	} else {
		prose(&b, p.Long)
	}
	if len(p.Commands) > 0 && !p.Verbatim {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range p.Commands {
			c.man(&b)
		}
	}
	if len(p.Options) > 0 && !p.Verbatim {
		b.WriteString(".SH OPTIONS OF ALL COMMANDS\n")
		manOptions(&b, p.Options)
	}
	b.WriteString(".SH SEE ALSO\nhttps://github.com/rightimage/packer\\-plugin\\-rightimage/tree/main/docs\n")
	return b.String()
}

func (c Command) man(b *strings.Builder) {
	fmt.Fprintf(b, ".SS %s\n", quoted(c.Usage))
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	prose(b, text)
	if c.Example != "" {
		b.WriteString(".PP\n")
		verbatim(b, c.Example)
	}
	manOptions(b, c.Options)
}

func manOptions(b *strings.Builder, options []Option) {
	for _, o := range options {
		b.WriteString(".TP\n")
		if o.Letter != "" {
			fmt.Fprintf(b, "\\fB%s\\fR, ", roff(o.Letter))
		}
		fmt.Fprintf(b, "\\fB%s\\fR", roff(o.Name))
		if o.Value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", roff(o.Value))
		}
		fmt.Fprintf(b, "\n%s\n", line(o.Meaning))
	}
}

// prose writes text as help shows it: paragraphs are filled, and what is indented
// is kept as it is.
func prose(b *strings.Builder, text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		var kept []string
		for text := range strings.Lines(paragraph) {
			text = strings.TrimRight(text, "\n")
			if strings.HasPrefix(text, "  ") {
				kept = append(kept, text)
				continue
			}
			if len(kept) > 0 {
				verbatim(b, strings.Join(kept, "\n"))
				kept = nil
			}
			b.WriteString(line(text) + "\n")
		}
		if len(kept) > 0 {
			verbatim(b, strings.Join(kept, "\n"))
		}
	}
}

func verbatim(b *strings.Builder, text string) {
	b.WriteString(".nf\n")
	for text := range strings.Lines(strings.Trim(text, "\n")) {
		b.WriteString(line(strings.TrimRight(text, "\n")) + "\n")
	}
	b.WriteString(".fi\n")
}

// line is a line of text that roff takes for nothing else.
func line(text string) string {
	text = roff(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// roff keeps characters from meaning something to roff.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "–", `\(en`, "→", "\\(->").Replace(text)
}

// quoted is an argument of a macro.
func quoted(text string) string {
	return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"`
}
