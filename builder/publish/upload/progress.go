// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"fmt"
	"sync"
	"time"
)

// reportEvery is the time between two progress lines.
const reportEvery = 10 * time.Second

// Progress is how far an upload has come.
type Progress struct {
	Done, Total int64 // bytes that are not holes
	Rate        int64 // bytes per second, over the whole upload
	Elapsed     time.Duration
}

// Left estimates the time to go; 0 when that cannot be said.
func (p Progress) Left() time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(p.Total-p.Done) / float64(p.Rate) * float64(time.Second))
}

func (p Progress) String() string {
	text := fmt.Sprintf("%s of %s uploaded, %s/s", Size(p.Done), Size(p.Total), Size(p.Rate))
	switch left := p.Left().Round(time.Second); {
	case p.Done == p.Total:
		return text + fmt.Sprintf(", done in %s", p.Elapsed.Round(100*time.Millisecond))
	case left > 0:
		return text + fmt.Sprintf(", %s left", left)
	default:
		return text
	}
}

// report calls tell every ten seconds until the returned function is called,
// and then a last time.
func (u *uploader) report(tell func(Progress)) func() {
	begin := time.Now()
	now := func() Progress {
		s := Progress{Done: u.done.Load(), Total: u.total, Elapsed: time.Since(begin)}
		if s.Elapsed > 0 {
			s.Rate = int64(float64(s.Done) / s.Elapsed.Seconds())
		}
		return s
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				tell(now())
			}
		}
	})
	return func() {
		close(stop)
		wg.Wait()
		tell(now())
	}
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for value >= unit && i < 4 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[i])
}
