// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// tries repeats the calls of one upload: as long as it is worth it, as long as
// anything moves, and no faster than the service takes them. Nothing below it
// repeats anything.
type tries struct {
	o     Options
	gate  *gate
	pace  *pace
	alarm *time.Timer
	calls atomic.Int64 // tries of block requests

	mu    sync.Mutex
	young time.Time // until then "not found" means "not yet"
	last  error
}

// newTries starts the clocks. The context it returns ends with a *StalledError
// when nothing moves for too long, with an *OverdueError when all of it takes
// too long.
func newTries(ctx context.Context, o Options) (_ context.Context, t *tries, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t = &tries{o: o, gate: newGate(o.Concurrency, o.AttemptTimeout), pace: newPace(o.RequestsPerSecond)}
	t.alarm = time.AfterFunc(o.StallTimeout, func() { cancel(&StalledError{For: o.StallTimeout, Last: t.lastError()}) })
	whole := time.AfterFunc(o.TotalTimeout, func() { cancel(&OverdueError{For: o.TotalTimeout, Last: t.lastError()}) })
	wake := context.AfterFunc(ctx, t.gate.wake)
	return ctx, t, func() {
		t.alarm.Stop()
		whole.Stop()
		wake()
		cancel(nil)
	}
}

// started tells when the snapshot was started: for a while from then on it may
// be unknown.
func (t *tries) started(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.young = at.Add(t.o.NotYet)
}

// moved puts the stall alarm off.
func (t *tries) moved() { t.alarm.Reset(t.o.StallTimeout) }

// control makes a call about a snapshot as a whole.
func (t *tries) control(ctx context.Context, call func(context.Context) error) error {
	return t.repeat(ctx, func(ctx context.Context) error {
		one, cancel := context.WithTimeout(ctx, t.o.AttemptTimeout)
		defer cancel()
		return call(one)
	}, wait.Real{}.Sleep)
}

// block makes a call about one block. The caller has a place at the gate.
func (t *tries) block(ctx context.Context, call func(context.Context) error) error {
	return t.repeat(ctx, func(ctx context.Context) error { return t.paced(ctx, call) }, t.gate.sleep)
}

// repeat makes a call until it succeeds or the rules say that it is not worth
// another try.
func (t *tries) repeat(ctx context.Context, once func(context.Context) error, sleep func(context.Context, time.Duration) error) error {
	pause := time.Duration(0)
	for {
		err := once(ctx)
		if err == nil {
			t.moved()
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		r := ruleFor(err)
		if !r.again && (!r.soon || !t.isYoung()) {
			return err
		}
		t.note(err)
		pause = min(max(2*pause, r.first), r.longest)
		spread := pause/2 + rand.N(pause/2) //nolint:gosec // spreads retries, hides nothing
		if err := sleep(ctx, max(spread, awsx.RetryAfter(err))); err != nil {
			return err
		}
	}
}

// paced makes one try when its turn comes, within its deadline, and tells rate
// and gate how it went.
func (t *tries) paced(ctx context.Context, call func(context.Context) error) error {
	if err := t.pace.wait(ctx); err != nil {
		return err
	}
	one, cancel := context.WithTimeout(ctx, t.o.AttemptTimeout)
	defer cancel()
	begin := time.Now()
	t.calls.Add(1)
	err := call(one)
	now := time.Now()
	switch {
	case err == nil:
		t.pace.stored(now)
		t.gate.stored(now, now.Sub(begin))
	case late(one, ctx), tooMany(err):
		t.gate.objected(now)
	case ruleFor(err).crowded:
		t.pace.throttled(now)
	}
	return err
}

func (t *tries) isYoung() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.young)
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

// StalledError says that an upload came to a standstill.
type StalledError struct {
	For  time.Duration
	Last error
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("nothing could be stored for %s (upload_timeout)", e.For) + reason(e.Last)
}

// Unwrap returns the reason of the last failed try.
func (e *StalledError) Unwrap() error { return e.Last }

// OverdueError says that an upload was not finished in the time that it had in
// all.
type OverdueError struct {
	For  time.Duration
	Last error
}

func (e *OverdueError) Error() string {
	return fmt.Sprintf("the upload was not finished after %s in all", e.For) + reason(e.Last)
}

// Unwrap returns the reason of the last failed try.
func (e *OverdueError) Unwrap() error { return e.Last }

func reason(last error) string {
	if last == nil {
		return ""
	}
	return ", the last failed try being: " + last.Error()
}
