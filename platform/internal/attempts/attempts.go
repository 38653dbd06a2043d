// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package attempts limits how often wrong secrets are answered.
package attempts

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Window is the time in which wrong attempts are counted together.
const Window = time.Minute

// maxName is the length in bytes from which names count as the same one.
const maxName = 255

// Bounds of a Limiter, within a Window.
type Bounds struct {
	// PerName is per address and name, so that a guesser does not lock out whom
	// the name belongs to behind another address.
	PerName int
	// PerAddress is per address over all names.
	PerAddress int
	// Entries is about how many callers are remembered; twice as many at most.
	Entries int
}

// Limiter counts wrong attempts in memory; each replica counts for itself.
type Limiter struct {
	bounds Bounds
	now    func() time.Time

	mu   sync.Mutex
	seen map[string]*counter
}

type counter struct {
	n   int
	end time.Time
}

// New makes a Limiter that takes the time from now.
func New(b Bounds, now func() time.Time) *Limiter {
	return &Limiter{bounds: b, now: now, seen: map[string]*counter{}}
}

// Blocked tells how long the caller must wait before another attempt under this
// name, 0 for not at all.
func (l *Limiter) Blocked(r *http.Request, name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.over(Address(r), l.bounds.PerAddress), l.over(key(r, name), l.bounds.PerName))
}

func (l *Limiter) over(key string, limit int) time.Duration {
	c := l.seen[key]
	if c == nil || c.n < limit {
		return 0
	}
	return max(0, c.end.Sub(l.now()))
}

// Failed counts a wrong attempt.
func (l *Limiter) Failed(r *http.Request, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.seen) > l.bounds.Entries {
		for key, c := range l.seen {
			if now.After(c.end) {
				delete(l.seen, key)
			}
		}
	}
	for _, key := range []string{Address(r), key(r, name)} {
		c := l.seen[key]
		if c == nil || now.After(c.end) {
			if len(l.seen) >= 2*l.bounds.Entries {
				continue // a flood from everywhere: memory comes first
			}
			c = &counter{end: now.Add(Window)}
			l.seen[key] = c
		}
		c.n++
	}
}

// Address is the caller's address, or its /64 with IPv6, where one machine has
// as many addresses as it likes.
func Address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Unmap().Is4() {
		return host
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return host
	}
	return prefix.String()
}

func key(r *http.Request, name string) string {
	return Address(r) + " " + name[:min(len(name), maxName)]
}
