// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
)

// script is a platform that answers what the test says, in this order.
type script struct {
	t    *testing.T
	srv  *httptest.Server
	mu   sync.Mutex
	want []step
	got  []string
}

type step struct {
	call   string // "POST /api/oauth2"
	status int
	header map[string]string
	body   any
	check  func(*http.Request, string)
}

func newScript(t *testing.T, want ...step) *script {
	s := &script{t: t, want: want}
	s.srv = httptest.NewTLSServer(s)
	t.Cleanup(s.srv.Close)
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Empty(t, s.want, "calls that did not come; got %v", s.got)
	})
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := r.Method + " " + r.URL.RequestURI()
	s.got = append(s.got, call)
	if len(s.want) == 0 || s.want[0].call != call {
		s.t.Errorf("call %s came, want %+v", call, s.want)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	next := s.want[0]
	s.want = s.want[1:]
	body, _ := io.ReadAll(r.Body)
	if next.check != nil {
		next.check(r, string(body))
	}
	for k, v := range next.header {
		w.Header().Set(k, v)
	}
	if next.status == -1 { // the answer is lost
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(next.status)
	if next.body != nil {
		_ = json.NewEncoder(w).Encode(next.body)
	}
}

func (s *script) host() string { return strings.TrimPrefix(s.srv.URL, "https://") }

func (s *script) grant(token string) step {
	return step{call: "POST /api/oauth2", status: 200, body: wire.OAuthResponse{
		AccessToken: token, ExpiresIn: 7200, TokenType: "bearer", Mode: "http", ShardID: 3,
		RouterURL: s.srv.URL + "/router", APIURL: s.srv.URL + "/api",
	}}
}

var healthy = step{call: "GET /api/health-check", status: 204}

const theSecret = "0123456789abcdef-secret"

func (s *script) session(t *testing.T, logs io.Writer) (*Session, *clock.Fake) {
	fake := clock.NewFake(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, block, 0o600))
	ses, err := New(Options{
		Identity: identity.Identity{ClientID: "4711", ClientSecret: theSecret, Account: "71", APIHostname: s.host()},
		Version:  "0.1.0", CAFile: ca, Clock: fake, Chance: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	return ses, fake
}

func seconds(ds []time.Duration) (out []float64) {
	for _, d := range ds {
		out = append(out, d.Seconds())
	}
	return out
}
