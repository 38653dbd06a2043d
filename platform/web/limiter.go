// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Wrong passwords that are answered within a window: per address and user, so
// that a guesser does not lock out the user behind another address, and per
// address over all users.
const (
	limitWindow     = time.Minute
	limitPerUser    = 5
	limitPerAddress = 30
	limitEntries    = 10000
)

// limiter counts wrong passwords in memory; each replica counts for itself.
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
func (l *limiter) blocked(r *http.Request, email string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.over(address(r), limitPerAddress), l.over(userKey(r, email), limitPerUser))
}

func (l *limiter) over(key string, limit int) time.Duration {
	c := l.seen[key]
	if c == nil || c.n < limit {
		return 0
	}
	return max(0, c.end.Sub(l.now()))
}

// failed counts a wrong password.
func (l *limiter) failed(r *http.Request, email string) {
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
	for _, key := range []string{address(r), userKey(r, email)} {
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

// address is the caller's address, or its /64 with IPv6, where one machine has
// as many addresses as it likes.
func address(r *http.Request) string {
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

func userKey(r *http.Request, email string) string {
	email = strings.ToLower(email)
	if len(email) > 255 {
		email = email[:255]
	}
	return address(r) + " " + email
}
