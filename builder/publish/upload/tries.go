// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Back-off between two tries of one call.
const (
	firstBackoff = 200 * time.Millisecond
	longBackoff  = 5 * time.Second
)

// tries repeats the calls of one upload: as long as it is worth it, as long as
// anything moves, and no more of them at a time than the service takes.
type tries struct {
	attempt time.Duration // for one call
	stall   time.Duration // without any success
	notYet  time.Duration // after start, "not found" means "not yet"
	gate    *gate
	alarm   *time.Timer
	stop    func()

	mu    sync.Mutex
	start time.Time
	last  error
}

// newTries starts the clock of the stall alarm. The context it returns ends
// with a *StalledError when nothing moves for that long.
func newTries(ctx context.Context, attempt, stall, notYet time.Duration, most int) (context.Context, *tries) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &tries{attempt: attempt, stall: stall, notYet: notYet, gate: newGate(most)}
	t.alarm = time.AfterFunc(stall, func() { cancel(&StalledError{For: stall, Last: t.lastError()}) })
	wake := context.AfterFunc(ctx, t.gate.wake)
	t.stop = func() {
		t.alarm.Stop()
		wake()
		cancel(nil)
	}
	return ctx, t
}

// started begins the time in which the snapshot may be unknown.
func (t *tries) started() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start = time.Now()
}

// moved puts the stall alarm off.
func (t *tries) moved() { t.alarm.Reset(t.stall) }

// repeat makes a call until it succeeds or is not worth another try. The rules
// are those of awsx.Class.
func (t *tries) repeat(ctx context.Context, call func(context.Context) error) error {
	for backoff := firstBackoff; ; backoff = min(2*backoff, longBackoff) {
		err := t.once(ctx, call)
		if err == nil {
			t.moved()
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if !t.worthwhile(err) {
			return err
		}
		t.note(err)
		pause := max(backoff/2+rand.N(backoff/2), awsx.RetryAfter(err)) //nolint:gosec // spreads retries, hides nothing
		if err := (wait.Real{}).Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// once makes one call within its deadline, when the gate lets it through, and
// tells the gate how it went.
func (t *tries) once(ctx context.Context, call func(context.Context) error) error {
	if err := t.gate.enter(ctx); err != nil {
		return err
	}
	defer t.gate.leave()
	one, cancel := context.WithTimeout(ctx, t.attempt)
	defer cancel()
	begin := time.Now()
	err := call(one)
	switch {
	case err == nil:
		// Far from the deadline there is room for more at a time; near it the
		// line is full, and more would only make all of them late.
		if time.Since(begin) < t.attempt/4 {
			t.gate.widen()
		}
	case awsx.Class(err) == awsx.Throttled, one.Err() != nil && ctx.Err() == nil:
		t.gate.narrow()
	}
	return err
}

func (t *tries) worthwhile(err error) bool {
	switch awsx.Class(err) {
	case awsx.Throttled, awsx.Network:
		return true
	case awsx.NotYet:
		t.mu.Lock()
		defer t.mu.Unlock()
		return !t.start.IsZero() && time.Since(t.start) < t.notYet
	default:
		return false
	}
}

func (t *tries) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
}

func (t *tries) lastError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
