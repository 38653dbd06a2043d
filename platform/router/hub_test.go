// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package router

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Ids are given before transactions are committed, so that a smaller one may
// appear after a larger one.
func TestWindow(t *testing.T) {
	w := window{seen: map[int64]time.Time{}}
	now := time.Now()
	sorted := func(events map[int64]int64) []int64 { return slices.Sorted(slices.Values(w.fresh(events, now))) }
	require.Equal(t, []int64{10, 30}, sorted(map[int64]int64{1: 10, 3: 30}))
	require.Empty(t, sorted(map[int64]int64{1: 10, 3: 30}))
	require.Equal(t, []int64{20}, sorted(map[int64]int64{1: 10, 2: 20, 3: 30}))
	require.Zero(t, w.after)
	now = now.Add(settle + time.Second)
	require.Equal(t, []int64{40}, sorted(map[int64]int64{2: 20, 4: 40}))
	require.Equal(t, int64(3), w.after)
	require.Len(t, w.seen, 1, "what is old is forgotten")
}

// source holds events in memory.
type source struct {
	mu     sync.Mutex
	heard  func(int64)
	events map[int64]int64
	looks  int
}

func (s *source) ListenEvents(heard func(int64)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = heard
	return func() {}
}

func (s *source) EventsAfter(_ context.Context, after int64) (map[int64]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	found := map[int64]int64{}
	for id, instance := range s.events {
		if id > after {
			found[id] = instance
		}
	}
	return found, nil
}

func (s *source) ExpireEvents(context.Context) error { return nil }

func (s *source) add(id, instance int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[id] = instance
}

type box struct {
	*source
	instance int64
}

func (b box) Events(context.Context) ([]wire.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []wire.Event
	for _, instance := range b.events {
		if instance == b.instance {
			list = append(list, wire.Event{UUID: "u"})
		}
	}
	return list, nil
}

func (b box) Ack(context.Context, string) error { return nil }
func (b box) Valid(context.Context) error       { return nil }

// An agent is woken by a notice, by the advice to look, and, should both be
// lost, by the hub's own slow look.
func TestWakes(t *testing.T) {
	for name, tc := range map[string]struct {
		say    func(*source)
		within time.Duration
	}{
		"notice":     {func(s *source) { s.heard(7) }, 0},
		"advice":     {func(s *source) { s.heard(0) }, 0},
		"all silent": {func(*source) {}, lookEvery},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{events: map[int64]int64{}}
				h := New(s, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); h.Run(ctx) }()
				synctest.Wait()
				began, took := time.Now(), time.Duration(-1)
				var got []wire.Event
				go func() {
					got, _ = h.Listen(ctx, 7, box{s, 7}, MaxListen)
					took = time.Since(began)
				}()
				synctest.Wait()
				s.add(1, 7)
				tc.say(s)
				time.Sleep(lookEvery + time.Millisecond)
				synctest.Wait()
				require.Len(t, got, 1)
				require.LessOrEqual(t, took, tc.within)
				require.Equal(t, int64(1), h.Sent())
				cancel()
				<-done
			})
		})
	}
}

// With nobody there, nothing is asked.
func TestIdleHubAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{events: map[int64]int64{}}
		h := New(s, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		h.Run(ctx)
		require.Zero(t, s.looks)
	})
}
