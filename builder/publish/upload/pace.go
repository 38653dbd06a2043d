// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How the rate is found. The time is cut into windows; paceCycle of them make a
// cycle: in its first the rate is tried a quarter higher, in the second lower to
// let a queue drain, in the rest it is held.
const (
	paceWindow  = 250 * time.Millisecond
	paceSlowest = 2 * time.Second // how long a window may get when little happens
	paceSample  = 40              // answers in a window, unless it gets too long
	paceCycle   = 8
	paceProbe   = 1.25
	paceDrain   = 0.9
	paceFloor   = 10   // requests per second
	paceHeavy   = 0.35 // share of throttled requests that makes older windows worthless
	paceNoise   = 0.5  // most of it that is taken for chance
	paceBurst   = 40   // a burst is what fits in a 40th of a second
)

// pace holds the requests per second to what the service takes. It starts at
// the quota and stays there until the service throttles for the first time.
// From then on the rate is what was stored per second in the best of the last
// windows, tried a little higher once in a cycle. Unlike halving at every
// objection this loses next to nothing at a fixed limit. What is throttled even
// in the best window of a cycle, the one with the lower rate included, is not
// throttled for the rate: it is chance, and no reason to slow down.
type pace struct {
	most    float64
	limiter *rate.Limiter

	mu        sync.Mutex
	throttles bool      // the service has throttled
	base      float64   // what it takes
	best      []float64 // stored per second in the last windows that were throttled
	shares    []float64 // of requests that were throttled, in the last windows
	clean     int       // windows without throttling
	phase     int
	begin     time.Time // of the window
	ok, not   float64   // answers in the window
}

func newPace(most float64) *pace {
	p := &pace{most: most, base: most, limiter: rate.NewLimiter(0, 1)}
	p.set(most)
	return p
}

// wait waits for the turn of one request.
func (p *pace) wait(ctx context.Context) error {
	if p.limiter.Wait(ctx) == nil {
		return nil
	}
	<-ctx.Done() // or will be before the turn comes
	return context.Cause(ctx)
}

// stored counts a request that was accepted.
func (p *pace) stored(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ok++
	p.roll(now)
}

// throttled counts a request that was refused for there being too many.
func (p *pace) throttled(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.throttles {
		p.throttles, p.phase = true, 2
	}
	p.not++
	p.roll(now)
}

// roll ends the window when it is full, and sets the rate of the next one.
func (p *pace) roll(now time.Time) {
	if p.begin.IsZero() {
		p.begin = now
	}
	length := now.Sub(p.begin)
	if length < paceWindow || p.ok+p.not < paceSample && length < paceSlowest {
		return
	}
	p.learn(p.ok/length.Seconds(), p.not/(p.ok+p.not))
	p.begin, p.ok, p.not = now, 0, 0
	if !p.throttles {
		p.set(p.most)
		return
	}
	p.phase = (p.phase + 1) % paceCycle
	gain := 1.0
	switch p.phase {
	case 0:
		gain = paceProbe
	case 1:
		gain = paceDrain
	}
	p.set(p.base * gain)
}

// learn draws the conclusion from a window: what was stored per second, and the
// share of requests that were throttled.
func (p *pace) learn(stored, share float64) {
	p.shares = lastOf(p.shares, share)
	if share == 0 {
		p.clean++
		if p.clean >= paceCycle {
			// Nothing objected, not even to the higher rate.
			p.clean, p.best = 0, nil
			p.base = min(p.base*paceProbe, p.most)
			p.throttles = p.base < p.most
		}
		return
	}
	p.clean = 0
	chance := 0.0
	if len(p.shares) == paceCycle {
		chance = min(slices.Min(p.shares), paceNoise)
	}
	if share-chance > paceHeavy {
		p.best = nil
	}
	p.best = lastOf(p.best, stored)
	p.base = slices.Max(p.best) / (1 - chance)
}

// lastOf adds to a list that reaches back one cycle.
func lastOf(list []float64, v float64) []float64 {
	list = append(list, v)
	return list[max(0, len(list)-paceCycle):]
}

func (p *pace) set(perSecond float64) {
	perSecond = min(max(perSecond, min(paceFloor, p.most)), p.most)
	p.limiter.SetLimit(rate.Limit(perSecond))
	p.limiter.SetBurst(max(1, int(perSecond/paceBurst)))
}
