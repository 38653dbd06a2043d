// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package clock is the agent's only source of time, so that tests pass
// through hours of back-off in no time.
package clock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or less when the context ends; then its error is
	// returned.
	Sleep(ctx context.Context, d time.Duration) error
}

// Real is the machine's clock.
type Real struct{}

// Now returns the current time.
func (Real) Now() time.Time { return time.Now() }

// Sleep waits for d.
func (Real) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Fake is a clock whose Sleep returns at once and moves the time forward.
type Fake struct {
	// OnSleep, if set, is told of every wait before the time moves.
	OnSleep func(d time.Duration)

	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

// NewFake returns a clock that starts at now.
func NewFake(now time.Time) *Fake { return &Fake{now: now} }

// Now returns the faked time.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Sleep moves the time forward by d.
func (f *Fake) Sleep(ctx context.Context, d time.Duration) error {
	if f.OnSleep != nil {
		f.OnSleep(d)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	f.waits = append(f.waits, d)
	return nil
}

// Waits returns the durations of all waits so far.
func (f *Fake) Waits() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.waits...)
}
