// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"regexp"
	"strings"
)

// hereDoc matches the start of a here-document that is written to the identity
// file, in both orders: cat <<'EOF' >file and cat >file <<EOF. The groups 2 and
// 4 are the delimiters, 1 and 3 the "-" that strips leading tabs.
func hereDoc() *regexp.Regexp {
	return regexp.MustCompile(
		`<<(-?)\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*>\s*["']?/var/lib/rightscale-identity["']?\s*$` +
			`|>\s*["']?/var/lib/rightscale-identity["']?\s*<<(-?)\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*$`)
}

// fromScript finds the identity here-document in a shell script. The script is
// read, never run.
func (d *Data) fromScript(text string) []Pair {
	lines, pattern := strings.Split(text, "\n"), hereDoc()
	for i, l := range lines {
		m := pattern.FindStringSubmatch(l)
		if m == nil || strings.HasPrefix(strings.TrimSpace(l), "#") {
			continue
		}
		strip, end := m[1]+m[3] == "-", m[2]+m[4]
		var body []string
		for _, b := range lines[i+1:] {
			if strip {
				b = strings.TrimLeft(b, "\t")
			}
			if b == end {
				return assignments(strings.Join(body, "\n"))
			}
			body = append(body, b)
		}
		d.problem("here-document for %s has no end line %s", IdentityPath, end)
	}
	return nil
}

// assignments reads lines of NAME=value with shell quoting. Nothing is
// expanded: $ and backticks stay as they are. Later assignments win.
func assignments(text string) []Pair {
	var pairs []Pair
	for l := range strings.SplitSeq(text, "\n") {
		l = strings.TrimSpace(l)
		l = strings.TrimSpace(strings.TrimPrefix(l, "export "))
		key, rest, ok := strings.Cut(l, "=")
		if !ok || !isName(key) {
			continue
		}
		if value, ok := unquote(rest); ok {
			pairs = append(pairs, Pair{key, value})
		}
	}
	return pairs
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// unquote reads one shell word without expansions; false when a quote stays
// open.
func unquote(s string) (string, bool) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			b.WriteByte(c)
		case c == '\\':
			i++
			if i == len(s) {
				return "", false
			}
			if quote == '"' && !strings.ContainsRune("\"\\$`", rune(s[i])) {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		case quote == '"':
			b.WriteByte(c)
		case c == '\'' || c == '"':
			quote = c
		case c == ' ' || c == '\t' || c == ';':
			return b.String(), true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), quote == 0
}
