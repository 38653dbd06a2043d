// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import "time"

// How the number of requests at a time is found.
const (
	widthFirst = 16
	widthLeast = 2
	widthRound = 100 * time.Millisecond // a round is not shorter
	widthRest  = 10                     // rounds between two attempts to do better
	// widthStart and widthStep are the factors of growth, until the first one
	// that brought nothing and from then on.
	widthStart, widthStep, widthBack = 2.0, 1.25, 0.8
	// widthGain is the part of a growth that throughput must follow.
	widthGain = 0.3
	// widthSame is how much less throughput counts as the same.
	widthSame = 0.97
	// widthQueue is how many times longer than at best a block takes when enough
	// of them wait in a queue that fewer can be tried. widthAge lets the best
	// time be forgotten, by so much per round.
	widthQueue, widthAge = 3.0, 1.01
	// widthUsual is the weight of a new round in what is usually stored.
	widthUsual = 0.3
	widthCut   = 0.7 // after an objection
	// widthLate is the part of an attempt's deadline beyond which more at a time
	// would only make all of them late.
	widthLate = 0.25
)

// width decides how many requests there may be at a time. It goes in rounds: in
// each it measures how much was stored per second. It grows as long as that
// grows with it, steps back when not, and rests; now and then it tries whether a
// few more do better or, where blocks evidently wait in a queue, a few less do as
// well. So it ends near the number that gets all that the line and the service
// have to give. Objections cut it.
type width struct {
	most    float64
	attempt time.Duration

	width   float64
	before  float64       // to which to step back; 0: nothing is being tried
	then    float64       // what was stored per second before
	usual   float64       // what is stored per second while nothing is tried
	best    time.Duration // what a block took in the best round
	factor  float64
	doubt   bool // the last round brought nothing, the next one decides
	started bool // the first growth that brought nothing is past
	up      bool // the next attempt is to grow
	rest    int
	cut     time.Time // when it was cut last

	settle int // answers that still belong to the round before
	begin  time.Time
	n      int
	took   time.Duration
}

func newWidth(most int, attempt time.Duration) width {
	return width{most: float64(most), attempt: attempt, width: float64(min(widthFirst, most)), up: true}
}

func (w *width) now() int { return int(w.width) }

// stored counts an answer and reports whether a round ended with it. peak is
// how many requests there were at a time.
func (w *width) stored(now time.Time, took time.Duration, peak int) bool {
	if w.settle > 0 || w.begin.IsZero() {
		w.settle = max(w.settle-1, 0)
		w.begin, w.n, w.took = now, 0, 0
		return false
	}
	w.n++
	w.took += took
	length := now.Sub(w.begin)
	if length < widthRound || float64(w.n) < w.width {
		return false
	}
	w.decide(float64(w.n)/length.Seconds(), w.took/time.Duration(w.n), peak >= w.now())
	w.begin, w.n, w.took = now, 0, 0
	return true
}

// decide ends a round: so much was stored per second, a block took so long, and
// the width was used in full or not.
func (w *width) decide(perSecond float64, mean time.Duration, full bool) {
	w.best = time.Duration(float64(w.best) * widthAge)
	if w.best == 0 || mean < w.best {
		w.best = mean
	}
	if w.before == 0 {
		w.usual += (perSecond - w.usual) * widthUsual
	}
	switch {
	case mean > time.Duration(float64(w.attempt)*widthLate):
		w.set(w.width * widthCut)
		w.pause()
	case w.before > 0:
		w.judge(perSecond, w.queued(mean))
	case !full:
		// Something else than the width was the limit.
	case w.rest > 0:
		w.rest--
	default:
		w.up = w.up || !w.queued(mean)
		w.try(max(perSecond, w.usual))
	}
}

// queued reports whether blocks evidently wait for each other.
func (w *width) queued(mean time.Duration) bool {
	return float64(mean) > float64(w.best)*widthQueue
}

// try changes the width, to be judged in the next round.
func (w *width) try(perSecond float64) {
	w.before, w.then = w.width, perSecond
	switch {
	case !w.started:
		w.factor = widthStart
	case w.up:
		w.factor = widthStep
	default:
		w.factor = widthBack
	}
	next := w.width * w.factor
	if w.factor > 1 {
		next = max(next, w.width+1)
	}
	w.set(next)
	if w.width == w.before {
		w.pause() // at a bound
	}
}

// judge keeps what was tried, or steps back when it brought nothing twice: one
// round is often disturbed.
func (w *width) judge(perSecond float64, queued bool) {
	wanted := w.then * widthSame
	if w.factor > 1 {
		wanted = w.then * (1 + widthGain*(w.width/w.before-1))
	}
	switch good := perSecond >= wanted; {
	case good && (w.factor > 1 || queued):
		w.doubt = false
		w.try(max(perSecond, w.then)) // the same again
		return
	case !good && !w.doubt:
		w.doubt = true
		return
	case !good:
		w.set(w.before)
	}
	w.pause()
}

// pause ends the trying for a while; the next attempt goes the other way.
func (w *width) pause() {
	w.started, w.doubt, w.before, w.rest, w.up = true, false, 0, widthRest, !w.up
}

// objected follows an answer that did not come in time, or that there were too
// many requests at a time. Those of one moment count once.
func (w *width) objected(now time.Time) {
	if now.Sub(w.cut) < time.Second {
		return
	}
	w.cut = now
	w.set(w.width * widthCut)
	w.pause()
}

func (w *width) set(to float64) {
	w.width = min(max(to, min(widthLeast, w.most)), w.most)
	w.settle = int(w.width)
}
