// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package wait holds the one waiter of the project: everything that polls goes
// through Waiter.Until, so that delays, limits and the clock are the same
// everywhere and tests run without sleeping.
package wait

import (
	"context"
	"fmt"
	"time"
)

// Clock tells the time and sleeps. Tests put a fake in its place.
type Clock interface {
	Now() time.Time
	// Sleep returns early with the cause when ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// Waiter says how to poll. The zero value polls every second, for ever, and is
// content with one success.
type Waiter struct {
	// Delay is the time between two polls; 0 means one second.
	Delay time.Duration
	// Attempts is the largest number of polls; 0 means no limit.
	Attempts int
	// Deadline is the longest time from the first poll on; 0 means no limit.
	Deadline time.Duration
	// InARow is how many successes must follow one another; 0 means one. A
	// state that several replicas answer for is only settled when it stays.
	InARow int
	// Clock is the time to go by; nil means the real one.
	Clock Clock
}

// TimeoutError says that what was waited for did not come in time.
type TimeoutError struct {
	What     string
	Attempts int
	After    time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("wait for %s: not there after %d requests in %s", e.What, e.Attempts, e.After.Round(time.Second))
}

// Until polls done until it reports true as often in a row as wanted. It ends
// early with the error of done, with the cause of ctx, or with a *TimeoutError.
func (w Waiter) Until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	clock := w.clock()
	start := clock.Now()
	streak := 0
	for attempt := 1; ; attempt++ {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		ok, err := done(ctx)
		if err != nil {
			return err
		}
		if streak++; !ok {
			streak = 0
		}
		if streak >= max(w.InARow, 1) {
			return nil
		}
		passed := clock.Now().Sub(start)
		if w.over(attempt, passed) {
			return &TimeoutError{What: what, Attempts: attempt, After: passed}
		}
		if err := clock.Sleep(ctx, w.delay()); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
	}
}

// over reports whether one more poll would break a limit.
func (w Waiter) over(attempt int, passed time.Duration) bool {
	return w.Attempts > 0 && attempt >= w.Attempts ||
		w.Deadline > 0 && passed+w.delay() > w.Deadline
}

func (w Waiter) delay() time.Duration {
	if w.Delay > 0 {
		return w.Delay
	}
	return time.Second
}

func (w Waiter) clock() Clock {
	if w.Clock != nil {
		return w.Clock
	}
	return Real{}
}

// Real is the clock on the wall.
type Real struct{}

// Now returns the current time.
func (Real) Now() time.Time { return time.Now() }

// Sleep waits for d, or until ctx ends.
func (Real) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
