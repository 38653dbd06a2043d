// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"strings"
)

// sshd is the configuration of the OpenSSH server: its file, what that includes,
// and Match blocks. Of several values of a key the first counts.
type sshd struct {
	im         *image
	installed  bool
	includes   bool // the main file includes drop-ins before it sets anything
	directives []directive
	broken     []line
}

// directive is a line; match is the condition it stands under.
type directive struct {
	line
	key, value, match string
}

const sshdConfig = "/etc/ssh/sshd_config"

func readSSHD(im *image) *sshd {
	s := &sshd{im: im, installed: im.has("/usr/sbin/sshd", "/sbin/sshd", sshdConfig)}
	s.read(sshdConfig, "", 0)
	return s
}

// read follows includes to a bounded depth, as sshd does.
func (s *sshd) read(p, match string, depth int) {
	if depth > 16 {
		return
	}
	for _, l := range s.im.lines(p) {
		key, value := l.key()
		switch key {
		case "include":
			s.includes = s.includes || len(s.directives) == 0
			for _, pattern := range strings.Fields(value) {
				if !path.IsAbs(pattern) {
					pattern = "/etc/ssh/" + pattern
				}
				for _, f := range s.im.Glob(strings.Trim(pattern, `"`)) {
					s.read(f, match, depth+1)
				}
			}
		case "match":
			if match = value; strings.EqualFold(value, "all") {
				match = ""
			}
		default:
			if value == "" {
				s.broken = append(s.broken, l)
			}
			s.directives = append(s.directives, directive{l, alias(key), value, match})
		}
	}
}

// alias gives the keys of one setting one name.
func alias(key string) string {
	switch key {
	case "challengeresponseauthentication":
		return "kbdinteractiveauthentication"
	case "skeyauthentication":
		return "kbdinteractiveauthentication"
	}
	return key
}

// global returns the value that counts outside of Match blocks.
func (s *sshd) global(key string) (directive, bool) {
	for _, d := range s.directives {
		if d.key == key && d.match == "" {
			return d, true
		}
	}
	return directive{}, false
}

// all returns what counts somewhere: the global value and those of Match blocks.
func (s *sshd) all(key string) []directive {
	var out []directive
	if d, ok := s.global(key); ok {
		out = append(out, d)
	}
	for _, d := range s.directives {
		if d.key == key && d.match != "" {
			out = append(out, d)
		}
	}
	return out
}

// wrong tells every value of a key that is not good, and the default where
// nothing is set and that is not good either.
func (s *sshd) wrong(x *probe, key, name, unset string, good ...string) {
	isGood := func(v string) bool {
		for _, g := range good {
			if strings.EqualFold(v, g) {
				return true
			}
		}
		return false
	}
	if _, ok := s.global(key); !ok && !isGood(unset) {
		x.at(sshdConfig, "%s is not set and is %q then", name, unset)
	}
	for _, d := range s.all(key) {
		if !isGood(d.value) {
			where := ""
			if d.match != "" {
				where = " under Match " + d.match
			}
			x.line(d.line, "%s %s%s", name, d.value, where)
		}
	}
}
