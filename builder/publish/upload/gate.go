// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// gate bounds the requests at a time, and with them the blocks in memory. Who
// is inside has a request under way or prepares one; who sleeps before another
// try is away and leaves the place to somebody else, but comes back before
// anything new begins. How many may be inside is up to width.
type gate struct {
	most int

	mu     sync.Mutex
	room   sync.Cond
	width  width
	inside int
	away   int
	back   int // of those away, how many want to come back
	peak   int // most inside since width was last asked
}

func newGate(most int, attempt time.Duration) *gate {
	g := &gate{most: most, width: newWidth(most, attempt)}
	g.room.L = &g.mu
	return g
}

// enter waits for a place for a new block. Who ends ctx must call wake.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.take(ctx, func() bool {
		return g.inside < g.width.now() && g.inside+g.away < g.most && g.back == 0
	})
}

// take waits until free says yes, and takes a place.
func (g *gate) take(ctx context.Context, free func() bool) error {
	for !free() || ctx.Err() != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.room.Wait()
	}
	g.inside++
	g.peak = max(g.peak, g.inside)
	return nil
}

// leave gives a place up for good.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.room.Broadcast()
}

// sleep leaves the gate for a while. The caller has a place again afterwards,
// with an error as well.
func (g *gate) sleep(ctx context.Context, d time.Duration) error {
	g.mu.Lock()
	g.inside--
	g.away++
	g.room.Broadcast()
	g.mu.Unlock()
	err := wait.Real{}.Sleep(ctx, d)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.back++
	if err == nil {
		err = g.take(ctx, func() bool { return g.inside < g.width.now() })
	}
	if err != nil {
		g.inside++ // for leave
	}
	g.back--
	g.away--
	g.room.Broadcast()
	return err
}

// wake makes everyone at the gate look at the context again.
func (g *gate) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.room.Broadcast()
}

// stored tells of a block that was stored in so much time.
func (g *gate) stored(now time.Time, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.width.stored(now, took, g.peak) {
		g.peak = g.inside
		g.room.Broadcast()
	}
}

// objected tells that there were too many requests at a time.
func (g *gate) objected(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.width.objected(now)
}
