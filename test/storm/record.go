// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// record collects what the agents of one storm have seen.
type record struct {
	mu       sync.Mutex
	requests []time.Duration
	statuses map[int]int
	boots    []time.Duration
	online   int
	// pushed and arrived are by audit entry.
	pushed, arrived map[int64]time.Time
	pushes          []time.Duration
}

func newRecord() *record {
	return &record{statuses: map[int]int{}, pushed: map[int64]time.Time{}, arrived: map[int64]time.Time{}}
}

func (r *record) request(status int, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, took)
	r.statuses[status]++
}

func (r *record) boot(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boots = append(r.boots, took)
}

func (r *record) connected(a *agent, now bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.connected.Swap(now) == now {
		return
	}
	if now {
		r.online++
	} else {
		r.online--
	}
}

// push notes that a script was asked for, event that it has arrived; either may
// be known first.
func (r *record) push(audit int64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushed[audit] = at
	r.pair(audit)
}

func (r *record) event(e wire.Event) {
	now, audit := time.Now(), auditOf(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.arrived[audit]; !again {
		r.arrived[audit] = now
		r.pair(audit)
	}
}

func (r *record) pair(audit int64) {
	began, pushed := r.pushed[audit]
	end, arrived := r.arrived[audit]
	if pushed && arrived {
		r.pushes = append(r.pushes, end.Sub(began))
	}
}

// count is how many agents are operational, and how many are connected.
func (r *record) count() (booted, online int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.boots), r.online
}

// delivered is how many scripts have arrived of those that were asked for.
func (r *record) delivered() (pushes, asked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pushes), len(r.pushed)
}

// summary takes the times out.
func (r *record) summary() (requests, boots, pushes Times, statuses map[int]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests, boots, pushes, statuses = times(r.requests), times(r.boots), times(r.pushes), r.statuses
	r.requests, r.statuses = nil, map[int]int{}
	return requests, boots, pushes, statuses
}

// Times are percentiles of durations.
type Times struct {
	Count         int           `json:"count"`
	P50, P99, Max time.Duration `json:"-"`
	MS            [3]float64    `json:"p50_p99_max_ms"`
}

func times(list []time.Duration) Times {
	if len(list) == 0 {
		return Times{}
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(p float64) time.Duration { return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))] }
	t := Times{Count: len(sorted), P50: at(.5), P99: at(.99), Max: sorted[len(sorted)-1]}
	for i, d := range []time.Duration{t.P50, t.P99, t.Max} {
		t.MS[i] = float64(d.Microseconds()) / 1000
	}
	return t
}

func (t Times) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, longest %s", round(t.P50), round(t.P99), round(t.Max))
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
