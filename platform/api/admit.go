// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
)

// Bounds of what one caller may ask. How much is worked on at once, the database
// bounds.
const (
	// A whole fleet may come from behind one address after a power cut, so that
	// the bound of an address keeps off floods only.
	addressRate, addressBurst = 2000, 20000
	// An agent asks a few times a second at most, and a script of an operator is
	// not much quicker.
	bearerRate, bearerBurst = 50, 300
	// maxBuckets bounds the memory for callers.
	maxBuckets = 100_000
)

// Observer is told about requests; metrics.Metrics is one.
type Observer interface {
	Request(method, route string, status int, took time.Duration)
	Refused(limit string)
}

// unobserved is the Observer of those who have none.
type unobserved struct{}

func (unobserved) Request(string, string, int, time.Duration) {}
func (unobserved) Refused(string)                             {}

// admission turns away callers that ask too much. Each replica counts for itself.
type admission struct {
	observer Observer
	now      func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

func newAdmission(o Observer) *admission {
	return &admission{observer: o, now: time.Now, buckets: map[string]*rate.Limiter{}}
}

// rated bounds how often one address, and one bearer token, may ask.
func (a *admission) rated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok := a.allow("address "+attempts.Address(r), addressRate, addressBurst)
		if bearer, found := bearerToken(r); ok && found {
			sum := sha256.Sum256([]byte(bearer.Reveal()))
			ok = a.allow("bearer "+string(sum[:]), bearerRate, bearerBurst)
		}
		if !ok {
			a.observer.Refused("rate")
			w.Header().Set("Retry-After", "1")
			writeText(w, http.StatusTooManyRequests, "too many requests; wait")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *admission) allow(key string, perSecond rate.Limit, burst int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	b := a.buckets[key]
	if b == nil {
		if len(a.buckets) >= maxBuckets {
			a.forget(now)
		}
		b = rate.NewLimiter(perSecond, burst)
		a.buckets[key] = b
	}
	return b.AllowN(now, 1)
}

// forget drops those who have not asked for a while; if there are none, all, as
// memory comes first.
func (a *admission) forget(now time.Time) {
	for key, b := range a.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(a.buckets, key)
		}
	}
	if len(a.buckets) >= maxBuckets {
		clear(a.buckets)
	}
}
