// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package audit

import "strings"

// width of an audit entry's lines.
const width = 80

// Section is the head line of a section, as RightLink 6 writes it.
func Section(title string) string {
	title = oneLine(title)
	pad := max(0, width-8-len([]rune(title)))
	return strings.Repeat("*", width) + "\n*RS>" + strings.Repeat(" ", pad/2) + title + strings.Repeat(" ", pad-pad/2) + "****\n"
}

// Info is a line of the agent, wrapped at spaces where there are any.
func Info(text string) string {
	const prefix = "*RS> "
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for _, part := range wrap(line, width-len(prefix)) {
			b.WriteString(prefix + part + "\n")
		}
	}
	return b.String()
}

// Error is an error line of the agent.
func Error(text string) string { return "*ERROR> " + strings.TrimRight(text, "\n") + "\n" }

func wrap(line string, limit int) []string {
	var parts []string
	rest := []rune(line)
	for len(rest) > limit {
		cut := limit
		for i := limit; i > 0; i-- {
			if rest[i] == ' ' {
				cut = i
				break
			}
		}
		parts = append(parts, string(rest[:cut]))
		rest = []rune(strings.TrimLeft(string(rest[cut:]), " "))
	}
	return append(parts, string(rest))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Summary cuts a summary to limit bytes; a cut one ends with three dots.
func Summary(text string, limit int) string {
	text = strings.ToValidUTF8(oneLine(text), "\uFFFD")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}
