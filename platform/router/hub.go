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
	// EventsAfter returns the instances with events of ids above after, and the
	// highest id.
	EventsAfter(ctx context.Context, after int64) (instances []int64, last int64, err error)
	// ExpireEvents drops what is too old.
	ExpireEvents(ctx context.Context) error
}

// Times of the hub.
const (
	// lookEvery is how soon an event that another process added is seen.
	lookEvery   = 300 * time.Millisecond
	expireEvery = time.Minute
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
	closed chan struct{}
}

// New makes a hub; Run must run for it to see events of other processes.
func New(source Source, log *slog.Logger) *Hub {
	return &Hub{source: source, log: log, wait: map[int64]map[chan struct{}]bool{}, closed: make(chan struct{})}
}

// Run looks for events until ctx ends, which also ends all connections.
func (h *Hub) Run(ctx context.Context) {
	defer close(h.closed)
	look, expire := time.NewTicker(lookEvery), time.NewTicker(expireEvery)
	defer look.Stop()
	defer expire.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			h.complain(ctx, "dropping old events", h.source.ExpireEvents(ctx))
			continue
		case <-look.C:
		}
		if h.Waiting() == 0 {
			continue // they look for themselves when they come
		}
		instances, id, err := h.source.EventsAfter(ctx, last)
		h.complain(ctx, "looking for events", err)
		last = id
		for _, instance := range instances {
			h.Wake(instance)
		}
	}
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
