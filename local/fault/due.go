// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"path"
	"time"

	"golang.org/x/time/rate"
)

// Call is one call as the rules see it.
type Call struct {
	Service, Region, Action string
	// New names the things in the request that were made after the given time; may be nil.
	New func(since time.Time) []string
}

func (r *Rule) matches(c Call, now time.Time) bool {
	ok, _ := path.Match(r.Action, c.Action) // checked by Add
	return ok && (r.Service == "" || r.Service == c.Service) && (r.Region == "" || r.Region == c.Region) &&
		(r.ForMS == 0 || now.Before(r.added.Add(r.forHowLong())))
}

// due counts a matching call and tells whether it is one that goes wrong.
func (r *Rule) due(c Call, now time.Time) bool {
	r.Seen++
	if r.Kind == Unseen {
		return r.Seen >= r.Nth && r.unseen(c)
	}
	// With chance or a rate in play, Times counts what went wrong; else the
	// window of calls is fixed, whatever other rules do in it.
	byChance := r.Percent > 0 || r.PerSecond > 0
	switch {
	case r.Seen < r.Nth, r.Times > 0 && !byChance && r.Seen >= r.Nth+r.Times, r.Times > 0 && byChance && r.Hit >= r.Times:
		return false
	case r.PerSecond > 0 && r.limiter(c.Region).AllowN(now, 1):
		return false
	}
	return r.Percent == 0 || r.lots.Float64()*100 < r.Percent
}

// unseen counts how often each new thing was named.
func (r *Rule) unseen(c Call) (due bool) {
	if c.New == nil {
		return false
	}
	for _, name := range c.New(r.added) {
		if r.named[name] < r.Times {
			r.named[name]++
			r.last, due = name, true
		}
	}
	return due
}

// limiter is the token bucket of a region: a tenth of a second's worth deep.
func (r *Rule) limiter(region string) *rate.Limiter {
	l, ok := r.rates[region]
	if !ok {
		l = rate.NewLimiter(rate.Limit(r.PerSecond), max(1, int(r.PerSecond/10)))
		r.rates[region] = l
	}
	return l
}
