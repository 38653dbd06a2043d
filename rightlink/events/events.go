// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package events receives what the platform sends to this agent: over a
// WebSocket, or by long polling where no WebSocket gets through. Each event is
// taken once, however often it comes.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// Router is the platform's side; *session.Session is one.
type Router interface {
	RouterURL() string
	DialRouter(ctx context.Context) (*websocket.Conn, error)
	Listen(ctx context.Context, acks []string) ([]wire.Event, error)
}

// Times of the receiver.
const (
	pingEvery   = 60 * time.Second
	pingTimeout = 20 * time.Second
	// goodAfter is the life of a connection that counts as a success.
	goodAfter = 30 * time.Second
	// pollAfter is how many failures in a row lead to long polling, pollFor how
	// long until the WebSocket is tried again.
	pollAfter = 3
	pollFor   = 10 * time.Minute
	// remembered is how many events are known by their ids.
	remembered = 500
)

// backoff lies between two tries.
func backoff() session.Schedule {
	return session.Schedule{First: time.Second, Factor: 2, Max: time.Minute, Tries: session.Forever}
}

// Receiver takes events. All fields must be set.
type Receiver struct {
	Router Router
	// File remembers the events taken.
	File   string
	Clock  clock.Clock
	Chance func() float64
	Log    *slog.Logger
	// Take is told of each event once, in order. It must not wait.
	Take func(wire.Event)
	// Connected is told when the way of receiving changes; "" for none.
	Connected func(how string)
}

// Run receives until ctx ends.
func (r *Receiver) Run(ctx context.Context) {
	if r.Router.RouterURL() == "" {
		r.Log.Warn("the platform has no router: it cannot send operational scripts to this agent")
		return
	}
	seen := r.load()
	for failures := 0; ctx.Err() == nil; {
		began := r.Clock.Now()
		err := r.socket(ctx, seen)
		if r.Clock.Now().Sub(began) >= goodAfter {
			failures = 0
		}
		failures++
		r.Connected("")
		if failures >= pollAfter && ctx.Err() == nil && !session.Denied(err) {
			r.Log.Info("no WebSocket gets through; polling for events", "for", pollFor, "error", err)
			err = r.poll(ctx, seen)
			r.Connected("")
		}
		if ctx.Err() != nil {
			return
		}
		schedule := backoff()
		if session.Denied(err) { // asked for more and more rarely, as everywhere
			schedule = session.RunPolicy()[session.Unauthorized]
		}
		wait := schedule.Wait(failures-1, r.Chance(), session.RetryAfter(err))
		r.Log.Debug("the connection for events has ended", "wait", wait, "error", err)
		_ = r.Clock.Sleep(ctx, wait)
	}
}

// socket receives over one WebSocket until it breaks.
func (r *Receiver) socket(ctx context.Context, seen *memory) error {
	conn, err := r.Router.DialRouter(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	r.Connected("websocket")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for r.Clock.Sleep(ctx, pingEvery) == nil {
			ping, done := context.WithTimeout(ctx, pingTimeout)
			err := conn.Ping(ping)
			done()
			if err != nil {
				return
			}
		}
	}()
	for {
		var e wire.Event
		if err := wsjson.Read(ctx, conn, &e); err != nil {
			return err
		}
		if err := r.take(e, seen); err != nil {
			return err
		}
		if err := wsjson.Write(ctx, conn, wire.Ack{Ack: e.UUID}); err != nil {
			return err
		}
	}
}

// poll receives by long polling for a while, or until a poll fails.
func (r *Receiver) poll(ctx context.Context, seen *memory) error {
	r.Connected("long poll")
	var acks []string
	for end := r.Clock.Now().Add(pollFor); r.Clock.Now().Before(end) || len(acks) > 0; {
		list, err := r.Router.Listen(ctx, acks)
		if err != nil {
			return err
		}
		acks = nil
		for _, e := range list {
			if err := r.take(e, seen); err != nil {
				return err
			}
			acks = append(acks, e.UUID)
		}
	}
	return nil
}

// take hands an event on, unless it was before. It is remembered first: rather
// lost than done twice.
func (r *Receiver) take(e wire.Event, seen *memory) error {
	if e.UUID == "" || slices.Contains(seen.IDs, e.UUID) {
		return nil
	}
	seen.IDs = append(seen.IDs, e.UUID)
	if n := len(seen.IDs); n > remembered {
		seen.IDs = slices.Clone(seen.IDs[n-remembered:])
	}
	text, err := json.Marshal(seen)
	if err == nil {
		err = atomicfile.WriteMkdir(r.File, text, 0o600, 0o700)
	}
	if err != nil {
		return err
	}
	if e.ExpiresAt > 0 && r.Clock.Now().Unix() > e.ExpiresAt+int64(maxSkew/time.Second) {
		r.Log.Warn("an event came too late and is dropped", "path", e.Path, "uuid", e.UUID)
		return nil
	}
	r.Log.Info("event", "path", e.Path, "uuid", e.UUID)
	r.Take(e)
	return nil
}

// maxSkew is how far this machine's clock may be ahead before events look late.
const maxSkew = 25 * time.Hour

// memory is the file of taken events.
type memory struct {
	IDs []string `json:"ids"`
}

func (r *Receiver) load() *memory {
	m := &memory{}
	text, err := os.ReadFile(r.File)
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Warn("the list of events taken cannot be read; it starts anew", "error", err)
	}
	return m
}
