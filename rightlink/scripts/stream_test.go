// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func redact(secrets []string, parts ...string) string {
	var b strings.Builder
	r := NewRedactor(secrets, func(s string) { b.WriteString(s) })
	for _, p := range parts {
		_, _ = r.Write([]byte(p))
	}
	r.Flush()
	return b.String()
}

func TestRedactor(t *testing.T) {
	for name, tc := range map[string]struct {
		secrets []string
		parts   []string
		want    string
	}{
		"plain":          {[]string{"pw"}, []string{"a pw b"}, "a (hidden) b"},
		"cut":            {[]string{"s3cret"}, []string{"a s3", "cr", "et b"}, "a (hidden) b"},
		"looks like one": {[]string{"s3cret"}, []string{"a s3", "cr", "aft"}, "a s3craft"},
		"end of stream":  {[]string{"s3cret"}, []string{"a s3c"}, "a s3c"},
		"overlap":        {[]string{"aba"}, []string{"xaba", "ba"}, "x(hidden)ba"},
		"longest":        {[]string{"ab", "abc"}, []string{"ab", "c ab"}, "(hidden) (hidden)"},
		"lines":          {[]string{"-----BEGIN-----\nMIIEowIBAAKCAQEA\n-----END-----\n"}, []string{"  MIIEowIBAAKCAQEA\n-----END-----"}, "  (hidden)\n(hidden)"},
		"no newline":     {[]string{"token\n"}, []string{"token!"}, "(hidden)!"},
		"empty secret":   {[]string{"", " "}, []string{"a  b"}, "a(hidden)(hidden)b"},
		"cut character":  {[]string{"x"}, []string{"\xc3", "\xa9x"}, "é(hidden)"},
		"not utf-8":      {[]string{"x"}, []string{"\xff\xfe", "x"}, "\xff\xfe(hidden)"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, redact(tc.secrets, tc.parts...)) })
	}
}

// However the text is cut, no secret appears and nothing else is lost.
func TestRedactorCuts(t *testing.T) {
	secrets := []string{"abab", "ba", "ü1", "long secret\nwith lines"}
	text := strings.Repeat("xabababay long secret\nwith lines ü1ü2 baab ", 5)
	want := redact(secrets, text)
	for _, s := range secrets {
		require.NotContains(t, want, s)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var parts []string
		for rest := text; rest != ""; {
			n := 1 + rnd.IntN(len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		require.Equal(t, want, redact(secrets, parts...))
	}
}
