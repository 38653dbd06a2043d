// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	for status, want := range map[int]Class{
		0: NotResponding, 200: OK, 201: OK, 204: OK, 301: Moved, 302: Moved, 400: Refused, 401: Unauthorized,
		403: Expired, 404: Refused, 408: NotResponding, 422: Refused, 429: Throttled, 449: RetryOnce,
		500: ServerError, 501: ServerError, 502: NotResponding, 503: Throttled, 504: NotResponding, 304: Refused,
	} {
		require.Equal(t, want, Classify(status), status)
	}
}

func TestScheduleWait(t *testing.T) {
	s := Schedule{First: 4 * time.Second, Factor: 2, Max: 64 * time.Second}
	for n, want := range []time.Duration{4, 8, 16, 32, 64, 64, 64} {
		require.Equal(t, want*time.Second, s.Wait(n, 0.5, 0), n)
	}
	require.Equal(t, 64*time.Second, s.Wait(100000, 0.5, 0))
	require.Equal(t, 3500*time.Millisecond, s.Wait(0, 0, 0))
	require.Less(t, s.Wait(0, 0.999, 0), 4500*time.Millisecond)
	require.Equal(t, 30*time.Second, s.Wait(0, 0, 30*time.Second), "Retry-After is the least wait")
	require.Equal(t, time.Hour, s.Wait(0, 0, 48*time.Hour), "but it is bounded")

	calls := CallPolicy()[NotResponding]
	for n, want := range []time.Duration{4, 12, 36} {
		require.True(t, calls.Allows(n))
		require.Equal(t, want*time.Second, calls.Wait(n, 0.5, 0))
	}
	require.False(t, calls.Allows(3))

	rare := RunPolicy()[Unauthorized]
	require.Equal(t, 60*time.Second, rare.Wait(0, 0.5, 0))
	require.Equal(t, 120*time.Second, rare.Wait(1, 0.5, 0))
	require.Equal(t, time.Hour, rare.Wait(9, 0.5, 0))
	require.True(t, rare.Allows(1e6))
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	require.Equal(t, 7*time.Second, parseRetryAfter(" 7 ", now))
	require.Equal(t, time.Minute, parseRetryAfter(now.Add(time.Minute).Format(http.TimeFormat), now))
	for _, bad := range []string{"", "-1", "soon", now.Add(-time.Minute).Format(http.TimeFormat)} {
		require.Zero(t, parseRetryAfter(bad, now), bad)
	}
	require.Equal(t, maxRetryAfter, parseRetryAfter("99999999999", now))
}

func TestRecordedState(t *testing.T) {
	for body, want := range map[string]string{
		`{"recorded_state":"operational","message":"no"}`:                      "operational",
		`state transition refused: the currently recorded state is "stranded"`: "stranded",
		`Currently recorded state (booting) does not match`:                    "booting",
		`recorded state: decommissioning`:                                      "decommissioning",
		`cannot change state`:                                                  "",
		`recorded state is unknown to us`:                                      "",
	} {
		got, ok := RecordedState(&Error{Status: 422, Body: body})
		require.Equal(t, want, got, body)
		require.Equal(t, want != "", ok)
	}
}

func TestProxy(t *testing.T) {
	choose, err := Proxy("user:pw@10.0.0.1:3128", "direct.example.net")
	require.NoError(t, err)
	for target, want := range map[string]bool{
		"https://rs.example.net/api": true, "https://direct.example.net/": false,
		"http://169.254.169.254/latest": false, "https://169.254.169.253/api": false,
		"http://[fe80::1]/": false, "http://127.0.0.1/": false,
	} {
		u, err := url.Parse(target)
		require.NoError(t, err)
		proxy, err := choose(&http.Request{URL: u})
		require.NoError(t, err)
		require.Equal(t, want, proxy != nil, target)
		if proxy != nil {
			require.Equal(t, "10.0.0.1:3128", proxy.Host)
		}
	}
	choose, err = Proxy("", "")
	require.NoError(t, err)
	require.Nil(t, choose)
	_, err = Proxy("http://", "")
	require.ErrorContains(t, err, "host:port")
}
