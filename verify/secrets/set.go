// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package secrets finds keys, tokens and given secrets in streams of any size:
// files, or the blocks of a disk. What it finds it never repeats.
package secrets

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strings"
)

// Kind says what was found, for people.
type Kind string

// Hit is one find. It holds no part of the secret.
type Hit struct {
	// Check is the id of the check that the find belongs to.
	Check string
	Kind  Kind
	// Offset is where it begins in the stream.
	Offset int64
	// Weak marks what may be harmless: a key id without its secret.
	Weak bool
	// Guess marks words that often stand before secrets, such as "password=".
	Guess bool
	// Wide is true when it is written in UTF-16.
	Wide bool
}

// Needle is a secret that must not be in an image, under a name that may be
// shown.
type Needle struct {
	Name  string
	Value string
}

// MinNeedle is the length that a needle must have: shorter ones would be found
// everywhere.
const MinNeedle = 8

// window is how many bytes are compared at once; every pattern has a key of
// that length.
const window = 4

// pattern is one thing to look for: a literal that contains the key, and a rule
// for what stands around it.
type pattern struct {
	check   string
	kind    Kind
	literal string
	key     int // where in the literal the key begins
	guess   bool
	wide    bool // the literal is UTF-16 already
	// rule judges the text from at, where the literal begins.
	rule func(text []byte, at int) (ok, weak bool)
}

// Set is a compiled list of patterns. It may be used by several goroutines.
type Set struct {
	patterns []pattern
	shift    [1 << 16]uint8 // by the last two bytes of a window: how far to go on
	bloom    [1 << 12]bool
	byKey    map[uint32][]int
}

// Compile makes a set of the known patterns and the needles.
func Compile(needles []Needle) *Set { return compile(append(known(), needlePatterns(needles)...)) }

// NeedlesOnly makes a set of the needles alone.
func NeedlesOnly(needles []Needle) *Set { return compile(needlePatterns(needles)) }

func compile(list []pattern) *Set {
	s := &Set{byKey: map[uint32][]int{}}
	for i := range s.shift {
		s.shift[i] = window - 1
	}
	for _, p := range list {
		s.add(p)
		if wide := p; !p.wide {
			wide.literal, wide.key, wide.wide = utf16(p.literal), 2*p.key, true
			s.add(wide)
		}
	}
	return s
}

func (s *Set) add(p pattern) {
	index := len(s.patterns)
	s.patterns = append(s.patterns, p)
	for _, key := range keysOf(p) {
		for i := range window - 1 {
			pair := binary.LittleEndian.Uint16([]byte(key[i:]))
			s.shift[pair] = min(s.shift[pair], uint8(window-2-i))
		}
		word := binary.LittleEndian.Uint32([]byte(key))
		s.bloom[slot(word)] = true
		s.byKey[word] = append(s.byKey[word], index)
	}
}

// keysOf returns the windows of a pattern: one, or for a literal that is too
// short one for each character that may follow.
func keysOf(p pattern) []string {
	if len(p.literal) >= p.key+window {
		return []string{p.literal[p.key : p.key+window]}
	}
	var out []string
	short := p.literal[p.key:]
	for _, c := range []byte(tokenChars) {
		out = append(out, short+string(c))
	}
	return out
}

func slot(word uint32) uint32 { return word * 2654435761 >> 20 }

// utf16 is a text in UTF-16LE without its last zero: so it is found in UTF-16BE
// as well.
func utf16(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 {
			b.WriteByte(0)
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// needlePatterns are the forms in which a secret may have got into a file:
// plain, in base64 at each of its three alignments, and escaped as in a URL.
func needlePatterns(needles []Needle) []pattern {
	var out []pattern
	for _, n := range needles {
		if len(n.Value) < MinNeedle {
			continue
		}
		for form, text := range forms(n.Value) {
			out = append(out, pattern{check: NeedleCheck, kind: Kind("secret of this build: " + n.Name + form), literal: text, rule: always})
		}
	}
	return out
}

func forms(value string) map[string]string {
	out := map[string]string{"": value}
	if escaped := url.QueryEscape(value); escaped != value {
		out[", as in a URL"] = escaped
	}
	for pad, drop := range []int{0, 2, 3} {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", pad) + value))
		if (pad+len(value))%3 != 0 {
			text = text[:len(text)-1] // depends on what follows
		}
		out[", in base64 ("+string('1'+rune(pad))+")"] = text[drop:]
	}
	return out
}

func always([]byte, int) (ok, weak bool) { return true, false }
