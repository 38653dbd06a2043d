// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

func TestLive(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		summary string
		age     time.Duration
		want    bool
	}{
		"queued for long":  {"Queued: a", 20 * time.Hour, true},
		"runs in silence":  {"RightScript: a", 3 * time.Hour, true},
		"runs for ever":    {"RightScript: a", 25 * time.Hour, false},
		"just completed":   {"Completed: a", time.Second, true}, // its last lines
		"completed":        {"Completed: a", time.Minute, false},
		"aborted":          {"Aborted: a", time.Minute, false},
		"stranded":         {"Stranded: a", time.Minute, false},
		"something":        {"server created", time.Minute, true},
		"something of old": {"server created", time.Hour, false},
	} {
		require.Equal(t, c.want, Live(store.AuditEntry{Summary: c.summary, UpdatedAt: now.Add(-c.age)}, now), name)
	}
}

func TestJoinParts(t *testing.T) {
	part := func(at int64, text string) store.DetailPart {
		return store.DetailPart{Position: at, Content: []byte(text)}
	}
	for name, c := range map[string]struct {
		parts []store.DetailPart
		from  int64
		live  bool
		text  string
		next  int64
	}{
		"nothing":        {nil, 5, true, "", 5},
		"whole":          {[]store.DetailPart{part(0, "ab"), part(2, "cd")}, 0, true, "abcd", 4},
		"from within":    {[]store.DetailPart{part(0, "ab"), part(2, "cd")}, 1, true, "bcd", 4},
		"hole, live":     {[]store.DetailPart{part(0, "ab"), part(5, "cd")}, 0, true, "ab", 2},
		"hole, over":     {[]store.DetailPart{part(0, "ab"), part(5, "cd")}, 0, false, "ab\n[3 bytes did not arrive]\ncd", 7},
		"half, live":     {[]store.DetailPart{part(0, "a\xe2\x82")}, 0, true, "a", 1},
		"half, over":     {[]store.DetailPart{part(0, "a\xe2\x82")}, 0, false, "a\xe2\x82", 3},
		"bad byte, live": {[]store.DetailPart{part(0, "a\xff")}, 0, true, "a\xff", 2},
	} {
		text, next := joinParts(c.parts, c.from, c.live)
		require.Equal(t, c.text, string(text), name)
		require.Equal(t, c.next, next, name)
	}
	// A piece is not much longer than the limit, and ends with a whole character.
	long := strings.Repeat("é", tailBytes)
	text, next := joinParts([]store.DetailPart{part(0, long[:tailBytes-1]), part(tailBytes-1, long[tailBytes-1:tailBytes+2]), part(tailBytes+2, long)}, 0, false)
	require.True(t, utf8.Valid(text))
	require.EqualValues(t, len(text), next)
	require.Less(t, len(text), tailBytes+8)
}
