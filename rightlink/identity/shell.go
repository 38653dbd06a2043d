// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"fmt"
	"strings"
)

// assignments reads the shell assignments of text without a shell: what a
// shell would expand stays as it is written.
func assignments(text string) (map[string]string, error) {
	values := map[string]string{}
	rest := strings.ReplaceAll(text, "\r\n", "\n")
	for line := 1; rest != ""; {
		next, ok := skipBlank(rest, &line)
		if !ok {
			return values, nil
		}
		next = strings.TrimLeft(strings.TrimPrefix(next, "export "), " \t")
		end := strings.IndexAny(next, "=\n")
		if end <= 0 || next[end] != '=' || !isName(next[:end]) {
			return nil, fmt.Errorf("line %d: want name='value'", line)
		}
		value, after, err := word(next[end+1:])
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", line, next[:end], err)
		}
		values[next[:end]] = value
		line += strings.Count(rest[:len(rest)-len(after)], "\n") - strings.Count(rest[:len(rest)-len(next)], "\n")
		rest = after
	}
	return values, nil
}

// skipBlank removes white space, semicolons and comments before the next
// assignment; false when nothing is left.
func skipBlank(s string, line *int) (string, bool) {
	for s != "" {
		switch s[0] {
		case '\n':
			*line++
			s = s[1:]
		case ' ', '\t', '\r', ';':
			s = s[1:]
		case '#':
			end := strings.IndexByte(s, '\n')
			if end < 0 {
				return "", false
			}
			s = s[end:]
		default:
			return s, true
		}
	}
	return "", false
}

// word reads one shell word: quoted and unquoted parts side by side.
func word(s string) (value, rest string, err error) {
	var b strings.Builder
	for s != "" {
		switch c := s[0]; c {
		case ' ', '\t', '\n', '\r', ';':
			return b.String(), s, nil
		case '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return "", "", fmt.Errorf("the single quote is not closed")
			}
			b.WriteString(s[1 : 1+end])
			s = s[end+2:]
		case '"':
			part, after, err := doubleQuoted(s[1:])
			if err != nil {
				return "", "", err
			}
			b.WriteString(part)
			s = after
		case '\\':
			if len(s) < 2 {
				return "", "", fmt.Errorf("a backslash ends the file")
			}
			if s[1] != '\n' {
				b.WriteByte(s[1])
			}
			s = s[2:]
		default:
			b.WriteByte(c)
			s = s[1:]
		}
	}
	return b.String(), "", nil
}

func doubleQuoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`", s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("the double quote is not closed")
}

func isName(s string) bool {
	for i, c := range s {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
