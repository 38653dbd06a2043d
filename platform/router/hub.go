// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package router brings events to agents: over a WebSocket, or by long polling
// for agents whose proxy does not let one through. Events lie in the database;
// here are only the agents that wait for them, so that any number of processes
// can serve, and a command line in another process can add one.
package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Mailbox is what one agent's session can see and take. Events are repeated
// until they are acknowledged.
type Mailbox interface {
	Events(ctx context.Context) ([]wire.Event, error)
	Ack(ctx context.Context, uuid string) error
	// Valid returns an error when the session has ended.
	Valid(ctx context.Context) error
}

// Source tells which instances have got mail.
type Source interface {
	// ListenEvents calls heard with an instance that has got an event, or with 0
	// when events may have been missed, until stop is called.
	ListenEvents(heard func(instance int64)) (stop func())
	// EventsAfter returns the instances of the events with ids above after, by id.
	EventsAfter(ctx context.Context, after int64) (map[int64]int64, error)
	// ExpireEvents drops what is too old.
	ExpireEvents(ctx context.Context) error
}

// Times of the hub.
const (
	expireEvery = time.Minute
	// lookEvery is for what all else has missed.
	lookEvery = 15 * time.Second
	// settle is how long events of smaller ids than known ones may still appear:
	// ids are given before transactions are committed.
	settle = time.Minute
	// repeatAfter is when an event without an answer is sent again on the same
	// connection.
	repeatAfter = 30 * time.Second
	// pingEvery finds dead connections, and sessions that have ended.
	pingEvery   = 30 * time.Second
	pingTimeout = 10 * time.Second
	// MaxListen bounds a long poll; agents of RightLink 6 ask for 55 s.
	MaxListen = 55 * time.Second
)

// Hub knows the agents that wait in this process.
type Hub struct {
	source Source
	log    *slog.Logger

	mu     sync.Mutex
	wait   map[int64]map[chan struct{}]bool
	sent   int64
	closed chan struct{}
}

// New makes a hub; Run must run for it to see events of other processes.
func New(source Source, log *slog.Logger) *Hub {
	return &Hub{source: source, log: log, wait: map[int64]map[chan struct{}]bool{}, closed: make(chan struct{})}
}

// Run wakes agents that have got events until ctx ends. Then it ends all
// connections, and waits a little until the agents have taken leave.
func (h *Hub) Run(ctx context.Context) {
	defer h.end()
	missed := make(chan struct{}, 1)
	defer h.source.ListenEvents(func(instance int64) {
		if instance != 0 {
			h.Wake(instance)
			return
		}
		select {
		case missed <- struct{}{}:
		default: // a look is due anyway
		}
	})()
	look, expire := time.NewTicker(lookEvery), time.NewTicker(expireEvery)
	defer look.Stop()
	defer expire.Stop()
	w := window{seen: map[int64]time.Time{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			h.complain(ctx, "dropping old events", h.source.ExpireEvents(ctx))
			continue
		case <-missed:
		case <-look.C:
		}
		if h.Waiting() == 0 {
			continue // they look for themselves when they come
		}
		events, err := h.source.EventsAfter(ctx, w.after)
		h.complain(ctx, "looking for events", err)
		for _, instance := range w.fresh(events, time.Now()) {
			h.Wake(instance)
		}
	}
}

// leaveTime bounds how long the end of all connections takes.
const leaveTime = 5 * time.Second

func (h *Hub) end() {
	close(h.closed)
	for limit := time.Now().Add(leaveTime); h.Waiting() > 0 && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
}

// window remembers which events were seen, as long as older ones may appear.
type window struct {
	after int64
	seen  map[int64]time.Time
}

// fresh returns the instances of events that were not seen before.
func (w *window) fresh(events map[int64]int64, now time.Time) (instances []int64) {
	for id, instance := range events {
		if _, known := w.seen[id]; !known {
			w.seen[id] = now
			instances = append(instances, instance)
		}
	}
	for id, at := range w.seen {
		if now.Sub(at) > settle {
			w.after = max(w.after, id)
		}
	}
	for id := range w.seen {
		if id <= w.after {
			delete(w.seen, id)
		}
	}
	return instances
}

func (h *Hub) complain(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		h.log.ErrorContext(ctx, what, "error", err)
	}
}

// Wake makes the agents of an instance look for events now.
func (h *Hub) Wake(instance int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.wait[instance] {
		select {
		case c <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// Waiting is the number of agents that wait here.
func (h *Hub) Waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.wait {
		n += len(c)
	}
	return n
}

// Sent is how many events were given to agents, repeated ones included.
func (h *Hub) Sent() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

func (h *Hub) count(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent += int64(n)
}

// join registers an agent; leave must be called.
func (h *Hub) join(instance int64) (wake chan struct{}, leave func()) {
	wake = make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wait[instance] == nil {
		h.wait[instance] = map[chan struct{}]bool{}
	}
	h.wait[instance][wake] = true
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(h.wait[instance], wake); len(h.wait[instance]) == 0 {
			delete(h.wait, instance)
		}
	}
}

// Listen waits until there are events, for at most limit; none is no error.
// What it returns comes again until it is acknowledged.
func (h *Hub) Listen(ctx context.Context, instance int64, box Mailbox, limit time.Duration) ([]wire.Event, error) {
	wake, leave := h.join(instance)
	defer leave()
	timer := time.NewTimer(min(max(limit, 0), MaxListen))
	defer timer.Stop()
	for {
		events, err := box.Events(ctx)
		if err != nil || len(events) > 0 {
			h.count(len(events))
			return events, err
		}
		select {
		case <-wake:
		case <-timer.C:
			return nil, nil
		case <-h.closed:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
