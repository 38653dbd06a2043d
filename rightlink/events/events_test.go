// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package events

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// router fails as it is told, and answers polls from a list.
type router struct {
	dial  error
	polls [][]wire.Event
	acked []string
	none  bool
	ended context.CancelFunc
}

func (r *router) RouterURL() string {
	if r.none {
		return ""
	}
	return "https://r/router"
}

func (r *router) DialRouter(context.Context) (*websocket.Conn, error) { return nil, r.dial }

func (r *router) Listen(ctx context.Context, acks []string) ([]wire.Event, error) {
	r.acked = append(r.acked, acks...)
	if len(r.polls) == 0 {
		r.ended()
		return nil, ctx.Err()
	}
	list := r.polls[0]
	r.polls = r.polls[1:]
	return list, nil
}

func receive(t *testing.T, r *router, file string, sleeps int) (taken []string, waits []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.ended = cancel
	fake := clock.NewFake(time.Unix(1e9, 0))
	fake.OnSleep = func(time.Duration) {
		if sleeps--; sleeps < 0 {
			cancel()
		}
	}
	receiver := Receiver{Router: r, File: file, Clock: fake, Chance: func() float64 { return 0.5 }, Log: slog.New(slog.DiscardHandler),
		Take: func(e wire.Event) { taken = append(taken, e.UUID) }, Connected: func(string) {}}
	receiver.Run(ctx)
	return taken, fake.Waits()
}

func TestPolling(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "events")
	r := &router{dial: &session.Error{Err: errors.New("a proxy is in the way")}, polls: [][]wire.Event{
		nil, {{UUID: "a"}, {UUID: "b"}}, {{UUID: "b"}, {UUID: ""}, {UUID: "late", ExpiresAt: 5}},
	}}
	taken, _ := receive(t, r, file, 10)
	require.Equal(t, []string{"a", "b"}, taken)
	require.Equal(t, []string{"a", "b", "b", "", "late"}, r.acked)

	// A new process knows what was taken; a damaged list starts anew.
	r.polls = [][]wire.Event{{{UUID: "a"}, {UUID: "c"}}}
	taken, _ = receive(t, r, file, 10)
	require.Equal(t, []string{"c"}, taken)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	r.polls = [][]wire.Event{{{UUID: "a"}}}
	taken, _ = receive(t, r, file, 10)
	require.Equal(t, []string{"a"}, taken)
}

// What cannot be noted is not taken: it would be taken twice.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	r := &router{dial: &session.Error{Err: errors.New("no")}, polls: [][]wire.Event{{{UUID: "a"}}}}
	taken, _ := receive(t, r, filepath.Join(dir, "file", "events"), 5)
	require.Empty(t, taken)
	require.Empty(t, r.acked)
}

func TestBackoff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	denied := &router{dial: &session.Error{Status: http.StatusUnauthorized}}
	_, waits := receive(t, denied, file, 4)
	require.Equal(t, []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute}, waits)
	asked := &router{dial: &session.Error{Status: http.StatusServiceUnavailable, RetryAfter: 100 * time.Second}}
	_, waits = receive(t, asked, file, 1)
	require.GreaterOrEqual(t, waits[0], 100*time.Second)
	_, waits = receive(t, &router{none: true}, file, 1)
	require.Empty(t, waits, "a platform without a router is left alone")
}
