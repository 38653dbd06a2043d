// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Wrong tokens that are answered within a window. The first bound is per
// address and token id, so that a guesser does not lock out the rightful agent
// behind another address; the second is per address over all ids. Tokens have
// 160 random bits: this is about load, not about guessing.
const (
	limitWindow     = time.Minute
	limitPerID      = 5
	limitPerAddress = 60
	limitEntries    = 20000
)

// limiter counts wrong tokens in memory; each replica counts for itself.
type limiter struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[string]*counter
}

type counter struct {
	n   int
	end time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, seen: map[string]*counter{}}
}

// blocked tells how long the caller must wait, 0 for not at all.
func (l *limiter) blocked(r *http.Request, id string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.over(addressKey(r), limitPerAddress), l.over(idKey(r, id), limitPerID))
}

func (l *limiter) over(key string, limit int) time.Duration {
	c := l.seen[key]
	if c == nil || c.n < limit {
		return 0
	}
	return max(0, c.end.Sub(l.now()))
}

// failed counts a wrong token.
func (l *limiter) failed(r *http.Request, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.seen) > limitEntries {
		for key, c := range l.seen {
			if now.After(c.end) {
				delete(l.seen, key)
			}
		}
	}
	for _, key := range []string{addressKey(r), idKey(r, id)} {
		c := l.seen[key]
		if c == nil || now.After(c.end) {
			if len(l.seen) > 2*limitEntries {
				continue // a flood from everywhere: memory comes first
			}
			c = &counter{end: now.Add(limitWindow)}
			l.seen[key] = c
		}
		c.n++
	}
}

// addressKey is the caller's address, or its /64 with IPv6, where one machine
// has as many addresses as it likes.
func addressKey(r *http.Request) string {
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

func idKey(r *http.Request, id string) string {
	if len(id) > 20 {
		id = id[:20]
	}
	return addressKey(r) + " " + id
}
