// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"fmt"
	"sync"
	"time"
)

// Progress is how far an upload has come.
type Progress struct {
	// Done and Total are bytes that had to be looked at: those of the disk that
	// are not holes.
	Done, Total int64
	// Sent is how much of Done had to be stored.
	Sent int64
	// Rate is Done per second since the report before.
	Rate    int64
	Elapsed time.Duration
	// Left estimates the time to go; 0 when that cannot be said.
	Left time.Duration
}

func (p Progress) String() string {
	if p.Done == p.Total {
		rate := int64(0)
		if p.Elapsed > 0 {
			rate = int64(float64(p.Sent) / p.Elapsed.Seconds())
		}
		return fmt.Sprintf("%s of %s uploaded, done in %s (%s/s)", Size(p.Sent), Size(p.Total), p.Elapsed.Round(100*time.Millisecond), Size(rate))
	}
	text := fmt.Sprintf("%s of %s done, %s/s", Size(p.Done), Size(p.Total), Size(p.Rate))
	if p.Left > 0 {
		text += fmt.Sprintf(", %s left", p.Left.Round(time.Second))
	}
	return text
}

// meter turns counts into progress.
type meter struct {
	begin, last time.Time
	lastDone    int64
	smooth      float64 // bytes per second
}

// smoothing is the weight of the newest rate in the one that Left goes by.
const smoothing = 0.4

func (m *meter) read(now time.Time, done, total, sent int64) Progress {
	p := Progress{Done: done, Total: total, Sent: sent, Elapsed: now.Sub(m.begin)}
	if d := now.Sub(m.last).Seconds(); d > 0 {
		rate := float64(done-m.lastDone) / d
		if m.smooth == 0 {
			m.smooth = rate
		}
		m.smooth = smoothing*rate + (1-smoothing)*m.smooth
		p.Rate = int64(rate)
	}
	if m.smooth > 0 {
		p.Left = time.Duration(float64(total-done) / m.smooth * float64(time.Second))
	}
	m.last, m.lastDone = now, done
	return p
}

// report reports regularly until the returned function is called, and then a
// last time.
func (s *sender) report() func() {
	begin := time.Now()
	m := &meter{begin: begin, last: begin}
	size := s.u.disk.BlockSize()
	tell := func() {
		s.u.o.Report(m.read(time.Now(), s.seen.Load()*size, s.total*size, s.sent.Load()*size))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(s.u.o.ReportEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				tell()
			}
		}
	})
	return func() {
		close(stop)
		wg.Wait()
		tell()
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
