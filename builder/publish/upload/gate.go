// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"sync"
	"time"
)

// How the number of calls at a time begins, and how often it may be halved:
// calls that were under way together are throttled together, and count once.
const (
	firstWidth = 8
	narrowRest = time.Second
)

// gate bounds the calls at a time. Like TCP it widens quickly until the service
// objects for the first time, and slowly from then on; an objection halves it.
type gate struct {
	most float64

	mu       sync.Mutex
	room     sync.Cond
	width    float64
	inside   int
	warned   bool
	narrowed time.Time
}

func newGate(most int) *gate {
	g := &gate{most: float64(most), width: float64(min(firstWidth, most))}
	g.room.L = &g.mu
	return g
}

// enter waits for room. Who ends ctx must call wake.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if g.inside < int(g.width) {
			g.inside++
			return nil
		}
		g.room.Wait()
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.room.Broadcast()
}

// wake makes everyone at the gate look at the context again.
func (g *gate) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.room.Broadcast()
}

// widen follows a quick success.
func (g *gate) widen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	step := 1.0
	if g.warned {
		step = 1 / g.width
	}
	g.width = min(g.width+step, g.most)
}

// narrow follows an objection.
func (g *gate) narrow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warned = true
	if now := time.Now(); now.Sub(g.narrowed) >= narrowRest {
		g.narrowed = now
		g.width = max(g.width/2, 1)
	}
}
