// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
)

// seen counts what the platform tells an Observer.
type seen struct {
	refused, requests int
	routes            []string
}

func (s *seen) Request(method, route string, status int, _ time.Duration) {
	s.requests++
	s.routes = append(s.routes, fmt.Sprint(method, " ", route, " ", status))
}
func (s *seen) Refused(string) { s.refused++ }

func TestRate(t *testing.T) {
	o := &seen{}
	a := newAdmission(o)
	now := time.Now()
	a.now = func() time.Time { return now }
	h := a.rated(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(address, bearer string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = address
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests {
			require.Equal(t, "1", w.Header().Get("Retry-After"))
		}
		return w.Code
	}
	for range bearerBurst {
		require.Equal(t, 204, ask("192.0.2.1:1", "one"))
	}
	require.Equal(t, 429, ask("192.0.2.1:2", "one"), "the port does not matter")
	require.Equal(t, 429, ask("192.0.2.2:2", "one"), "nor does the address")
	require.Equal(t, 204, ask("192.0.2.1:1", "two"))
	now = now.Add(time.Second)
	for range bearerRate {
		require.Equal(t, 204, ask("192.0.2.1:1", "one"))
	}
	require.Equal(t, 429, ask("192.0.2.1:1", "one"))
	for i := range addressBurst {
		require.Equal(t, 204, ask("[2001:db8::1]:1", ""), "request %d", i)
	}
	require.Equal(t, 429, ask("[2001:db8::2]:1", ""), "the same /64")
	require.Equal(t, 204, ask("[2001:db8:1::2]:1", ""))
	require.Equal(t, 4, o.refused)
}

// A flood from everywhere must not fill the memory.
func TestRateForgets(t *testing.T) {
	a := newAdmission(unobserved{})
	now := time.Now()
	a.now = func() time.Time { return now }
	for i := range maxBuckets + 10 {
		require.True(t, a.allow(fmt.Sprint(i), 1, 1))
	}
	require.LessOrEqual(t, len(a.buckets), maxBuckets)
}

// Requests to the dashboard are told by the pattern of their page, as those to
// the API are.
func TestObserverLearnsPatterns(t *testing.T) {
	w, o := start(t), &seen{}
	ui := chi.NewRouter()
	ui.Get("/ui/servers/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := New(w.fleet, Options{Log: slog.New(slog.DiscardHandler), Observer: o, UI: ui}).root()
	for _, path := range []string{"/ui/servers/7", "/ui/nothing", "/api/health-check", "/api/servers/7"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	require.Equal(t, []string{"GET /ui/servers/{id} 418", "GET  404", "GET /api/health-check 200", "GET /api/servers/{id} 400"}, o.routes)
}
