// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attempts

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := New(Bounds{PerName: 2, PerAddress: 3, Entries: 100}, func() time.Time { return now })
	here, there := &http.Request{RemoteAddr: "10.0.0.1:1"}, &http.Request{RemoteAddr: "10.0.0.2:1"}
	l.Failed(here, "a")
	require.Zero(t, l.Blocked(here, "a"))
	l.Failed(here, "a")
	require.Equal(t, Window, l.Blocked(here, "a"))
	require.Zero(t, l.Blocked(there, "a"), "whom the name belongs to is not locked out")
	require.Zero(t, l.Blocked(here, "b"))
	l.Failed(here, "b")
	require.Equal(t, Window, l.Blocked(here, "c"), "too many names from one address")
	now = now.Add(Window)
	require.Zero(t, l.Blocked(here, "a"))
}

func TestLimiterForgets(t *testing.T) {
	now := time.Unix(1000, 0)
	l := New(Bounds{PerName: 2, PerAddress: 3, Entries: 100}, func() time.Time { return now })
	req := func(i int) *http.Request {
		return &http.Request{RemoteAddr: fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255)}
	}
	for i := range 500 {
		l.Failed(req(i), "a")
	}
	require.Len(t, l.seen, 200)
	now = now.Add(2 * Window)
	l.Failed(req(1), "a")
	require.Len(t, l.seen, 2)
}

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"10.1.2.3:4":               "10.1.2.3",
		"[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64",
		"[::ffff:10.1.2.3]:4":      "::ffff:10.1.2.3",
		"@":                        "@",
	} {
		require.Equal(t, want, Address(&http.Request{RemoteAddr: remote}))
	}
}
