// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/pki"
)

// A replica that is told to stop says so to the load balancer first and goes on
// serving; then it sends the agents that wait elsewhere.
func TestDrain(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")

	dir := t.TempDir()
	cert, err := pki.Ensure(filepath.Join(dir, "tls"), []string{"127.0.0.1"}, time.Now())
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	const drain = time.Second
	srv := New(w.fleet, Options{Log: slog.New(slog.DiscardHandler), Drain: drain})
	go func() { done <- srv.Serve(ctx, l, func() (*tls.Certificate, error) { return &cert, nil }) }()

	// The same agent, at the other replica.
	other := &world{t: t, fleet: w.fleet, base: "https://" + l.Addr().String()}
	other.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	b := &agent{world: other, identity: a.identity, bearer: a.bearer, self: a.self}
	require.Equal(t, 200, b.call("GET", "/api/health-check", nil).status)
	conn := b.connect(ctx)
	polled := make(chan answer, 1)
	go func() { polled <- b.call("GET", "/router/listen?wait_time=50", nil, b.router) }()
	require.Eventually(t, func() bool { return srv.Agents() == 2 }, 10*time.Second, 5*time.Millisecond)

	began := time.Now()
	stop()
	require.Eventually(t, func() bool { return b.call("GET", "/api/health-check", nil).status == 503 }, drain, 5*time.Millisecond)
	b.do("GET", "/api/sessions/instance", nil, 200)
	read, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, _, err = conn.Read(read)
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	require.GreaterOrEqual(t, time.Since(began), drain)
	require.Equal(t, "[]", (<-polled).body)
	require.NoError(t, <-done)
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "nobody listens any more")
}
