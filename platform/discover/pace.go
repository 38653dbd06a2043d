// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"math/rand/v2"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// pacer decides when a cloud is listed again: soon while there is news, at the
// longest interval when there is none, and beyond it while the cloud says that
// it is asked too often or does not answer.
type pacer struct {
	longest time.Duration
	current time.Duration // 0 at the start
}

const (
	shortest   = 5 * time.Second
	mostly     = 6                // a busy cloud is listed so many times as often
	farthest   = 15 * time.Minute // however bad it is
	slowFactor = 10               // and not beyond so many intervals
)

func (p *pacer) busy() time.Duration { return min(p.longest, max(shortest, p.longest/mostly)) }

// next returns the wait. A tenth of it is left to chance, on the short side, so
// that clouds of one account are not listed at one moment, and that an interval
// keeps what it promises.
func (p *pacer) next(r Report, err error) time.Duration {
	limit := max(p.longest, min(farthest, p.longest*slowFactor))
	switch {
	case err != nil || r.Throttled > 0:
		p.current = min(limit, max(p.current, p.longest)*2)
		if err != nil && p.current == 0 {
			p.current = p.longest
		}
		p.current = max(p.current, min(awsx.RetryAfter(err), farthest))
	case p.current > p.longest: // it is better again
		p.current = max(p.longest, p.current/2)
	case r.Busy || r.News() > 0 || p.current == 0:
		p.current = p.busy()
	default:
		p.current = min(p.longest, p.current*3/2)
	}
	return p.current - rand.N(p.current/10+1) //nolint:gosec // no secret
}
