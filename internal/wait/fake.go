// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"sync"
	"time"
)

// Fake is a clock for tests: sleeping takes no time and moves it on.
type Fake struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

// Now returns the fake time.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Sleep moves the fake time on by d at once.
func (f *Fake) Sleep(ctx context.Context, d time.Duration) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	f.slept = append(f.slept, d)
	return nil
}

// Slept returns every sleep so far.
func (f *Fake) Slept() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.slept...)
}
