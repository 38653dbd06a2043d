// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import "strings"

// parseOSRelease reads the format of os-release and lsb-release: NAME=value
// lines with shell quoting, comments and blank lines. Lines that are none of
// that are skipped, since broken files exist; the last of equal names wins.
func parseOSRelease(text string) map[string]string {
	values := map[string]string{}
	for l := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		key, value, ok := strings.Cut(strings.TrimSpace(l), "=")
		if !ok || !isKey(key) {
			continue
		}
		values[key] = unquote(strings.TrimSpace(value))
	}
	return values
}

func isKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}

// unquote removes one level of shell quoting and control characters; an open
// quote ends at the end of the line.
func unquote(s string) string {
	var b strings.Builder
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, s)
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quote == 0 && (c == ' ' || c == '#'):
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}
