// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"
)

// hidden replaces a secret in audit text.
const hidden = "(hidden)"

// shortestLine is the least length of a line of a secret of several lines to
// be hidden on its own; shorter ones ("}", "EOF") would blacken innocent text.
const shortestLine = 6

// Redactor takes secrets out of a stream of text, wherever the stream is cut.
// What could be the beginning of a secret is kept back until more is known.
type Redactor struct {
	emit func(string)

	mu      sync.Mutex
	secrets []string // longest first
	held    string
}

// NewRedactor passes text on to emit without the given secrets.
func NewRedactor(secrets []string, emit func(string)) *Redactor {
	r := &Redactor{emit: emit}
	add := func(s string, least int) {
		if len(s) >= least && !slices.Contains(r.secrets, s) {
			r.secrets = append(r.secrets, s)
		}
	}
	for _, s := range secrets {
		add(s, 1)
		add(strings.TrimSpace(s), 1)
		if strings.Contains(s, "\n") {
			for line := range strings.SplitSeq(s, "\n") {
				add(strings.TrimSpace(line), shortestLine)
			}
		}
	}
	sort.SliceStable(r.secrets, func(i, j int) bool { return len(r.secrets[i]) > len(r.secrets[j]) })
	return r
}

// Write takes output of a script; it never fails.
func (r *Redactor) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held += string(p)
	r.pass(false)
	return len(p), nil
}

// Flush passes on what was kept back: the stream has ended.
func (r *Redactor) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pass(true)
}

func (r *Redactor) pass(end bool) {
	var out strings.Builder
	s := r.held
	for s != "" {
		if !end && r.mayGrow(s) {
			break
		}
		if n := r.match(s); n > 0 {
			out.WriteString(hidden)
			s = s[n:]
			continue
		}
		if !end && !utf8.FullRuneInString(s) {
			break // the rest of the character comes with the next part
		}
		_, n := utf8.DecodeRuneInString(s)
		out.WriteString(s[:n])
		s = s[n:]
	}
	r.held = s
	if out.Len() > 0 {
		r.emit(out.String())
	}
}

// mayGrow tells if s is the beginning of a longer secret.
func (r *Redactor) mayGrow(s string) bool {
	for _, secret := range r.secrets {
		if len(secret) > len(s) && strings.HasPrefix(secret, s) {
			return true
		}
	}
	return false
}

// match returns the length of the secret that s begins with, or 0.
func (r *Redactor) match(s string) int {
	for _, secret := range r.secrets {
		if strings.HasPrefix(s, secret) {
			return len(secret)
		}
	}
	return 0
}
