// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imagediff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// Formats are the forms of Write.
func Formats() []string { return []string{"table", "json", "markdown"} }

// maxListed is how many files a table or release notes list.
const maxListed = 100

// Write writes the result for people, for scripts, or for release notes.
func (r *Result) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	case "markdown":
		_, err := io.WriteString(w, r.markdown())
		return err
	case "table":
		return r.table(w)
	default:
		return fmt.Errorf("there is no format %q; it is one of %s", format, strings.Join(Formats(), ", "))
	}
}

// notable leaves out the modules inside of Go programs: the programs stand for
// them.
func (r *Result) notable() (list []PackageChange, modules int) {
	for _, p := range r.Packages {
		if p.Kind == sbom.Golang && !p.Main && p.Name != "stdlib" {
			modules++
			continue
		}
		list = append(list, p)
	}
	return list, modules
}

func (p PackageChange) title() string {
	name := p.Name
	if p.Path != "" {
		name += " in " + p.Path
	}
	return name
}

func (r *Result) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	list, modules := r.notable()
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Action, p.Kind, p.title(), cmp.Or(p.From, "-"), cmp.Or(p.To, "-"))
	}
	for _, part := range []struct {
		name  string
		files []FileChange
	}{{"configuration", r.Configuration}, {"file", r.Files}} {
		for i, f := range part.files {
			if i == maxListed {
				fmt.Fprintf(w, "…\t%s\tand %d more\t\t\n", part.name, len(part.files)-maxListed)
				break
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Action, part.name, printable(f.Path), strings.Join(f.What, ", "), delta(f.To-f.From))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, r.Summary())
	if err == nil && modules > 0 {
		_, err = fmt.Fprintf(out, "%d modules inside of Go programs differ (--json lists them)\n", modules)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	return err
}

// Summary says all of it in a line.
func (r *Result) Summary() string {
	if r.Same() {
		return "the images hold the same"
	}
	list, _ := r.notable()
	n := map[Action]int{}
	for _, p := range list {
		n[p.Action]++
	}
	return fmt.Sprintf("packages: %d added, %d removed, %d changed; configuration: %d files; other files: %d; files of packages: %d added, %d removed, %d changed; size: %s to %s (%s)",
		n[Added], n[Removed], n[Changed], len(r.Configuration), len(r.Files),
		r.PackageFiles.Added, r.PackageFiles.Removed, r.PackageFiles.Changed, size(r.From.Bytes), size(r.To.Bytes), delta(r.To.Bytes-r.From.Bytes))
}

func (r *Result) markdown() string {
	var b strings.Builder
	if r.Same() {
		return "Nothing has changed.\n"
	}
	list, _ := r.notable()
	for _, part := range []struct {
		title  string
		action Action
	}{{"Changed packages", Changed}, {"New packages", Added}, {"Removed packages", Removed}} {
		var rows []string
		for _, p := range list {
			if p.Action != part.action {
				continue
			}
			switch p.Action {
			case Changed:
				rows = append(rows, fmt.Sprintf("| %s | %s | %s |", cell(p.title()), cell(p.From), cell(p.To)))
			default:
				rows = append(rows, fmt.Sprintf("| %s | %s |", cell(p.title()), cell(cmp.Or(p.From, p.To))))
			}
		}
		if len(rows) == 0 {
			continue
		}
		head := "| package | version |\n|---|---|"
		if part.action == Changed {
			head = "| package | from | to |\n|---|---|---|"
		}
		fmt.Fprintf(&b, "### %s\n\n%s\n%s\n\n", part.title, head, strings.Join(rows, "\n"))
	}
	section(&b, "Configuration", r.Configuration)
	section(&b, "Other files", r.Files)
	fmt.Fprintf(&b, "### Size\n\n%s of files before, %s now (%s).\n", size(r.From.Bytes), size(r.To.Bytes), delta(r.To.Bytes-r.From.Bytes))
	return b.String()
}

func section(b *strings.Builder, title string, files []FileChange) {
	if len(files) == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n", title)
	for i, f := range files {
		if i == maxListed {
			fmt.Fprintf(b, "- and %d more\n", len(files)-maxListed)
			break
		}
		what := string(f.Action)
		if len(f.What) > 0 {
			what += ": " + strings.Join(f.What, ", ")
		}
		fmt.Fprintf(b, "- `%s` (%s)\n", strings.ReplaceAll(printable(f.Path), "`", "'"), what)
	}
	b.WriteString("\n")
}

// cell keeps a text inside of its cell of a table.
func cell(s string) string { return strings.ReplaceAll(printable(s), "|", `\|`) }

// printable takes what could move the cursor out of names that come from an
// image.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d MiB", n>>20)
	}
}

// delta is a change of size.
func delta(n int64) string {
	switch {
	case n == 0:
		return "±0"
	case n < 0:
		return "-" + size(-n)
	default:
		return "+" + size(n)
	}
}
