// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bufio"
	"net/url"
	"strings"
)

// line is a line of a configuration file, without its comment and the blanks
// around it.
type line struct {
	path   string
	number int
	text   string
}

// lines returns the lines of a file that say something. A missing file has none.
func (im *image) lines(p string) []line { return parseLines(p, im.Text(p)) }

func parseLines(p, text string) []line {
	var out []line
	s := bufio.NewScanner(strings.NewReader(text))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		t := strings.TrimSpace(s.Text())
		if t == "" || strings.HasPrefix(t, "#") || strings.HasPrefix(t, ";") || strings.HasPrefix(t, "//") {
			continue
		}
		if i := strings.Index(t, " #"); i >= 0 {
			t = strings.TrimSpace(t[:i])
		}
		out = append(out, line{p, n, t})
	}
	return out
}

// setting splits a line at its first = or :, or else at the first blank.
func (l line) setting() (name, value string) {
	t := strings.TrimPrefix(l.text, "export ")
	i := strings.IndexAny(t, "=:")
	if i < 0 {
		i = strings.IndexAny(t, " \t")
	}
	if i < 0 {
		return t, ""
	}
	name = strings.Trim(strings.TrimSpace(t[:i]), `"'-`)
	return strings.TrimSpace(name), strings.Trim(strings.TrimSpace(t[i+1:]), `"',;`)
}

// key splits a line at the first blank and returns the word in lower case.
func (l line) key() (key string, rest string) {
	i := strings.IndexAny(l.text, " \t=")
	if i < 0 {
		return strings.ToLower(l.text), ""
	}
	return strings.ToLower(l.text[:i]), strings.Trim(strings.TrimSpace(strings.TrimLeft(l.text[i:], " \t=")), `"`)
}

// userinfo returns the first URL of a line that carries a password.
func (l line) userinfo() bool {
	rest := l.text
	for {
		i := strings.Index(rest, "://")
		if i < 0 {
			return false
		}
		start := i
		for start > 0 && (rest[start-1] >= 'a' && rest[start-1] <= 'z' || rest[start-1] == '+') {
			start--
		}
		end := i + 3
		for end < len(rest) && !strings.ContainsRune(" \t\"'<>;,]", rune(rest[end])) {
			end++
		}
		if u, err := url.Parse(rest[start:end]); err == nil && u.User != nil {
			if secret, has := u.User.Password(); has && secret != "" && !strings.HasPrefix(secret, "$") {
				return true
			}
		}
		rest = rest[end:]
	}
}

// withPassword finds lines with a password in a URL.
func withPassword(x *file) {
	if !x.Regular() || x.Size > 1<<20 {
		return
	}
	for _, l := range x.lines(x.Path) {
		if l.userinfo() {
			x.line(l, "a URL with a user and a password")
		}
	}
}
