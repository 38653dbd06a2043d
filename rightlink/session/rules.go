// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import "time"

// Class is what an answer of the platform means to the agent. The reaction to
// each class is a Schedule, so that every retry rule is data.
type Class string

// The classes of answers.
const (
	OK            Class = "ok"
	NotResponding Class = "not responding" // no connection, or a gateway says so
	Throttled     Class = "throttled"
	Unauthorized  Class = "unauthorized" // the token is not accepted
	Expired       Class = "expired"      // the token may be old: renew and try once more
	Moved         Class = "moved"
	RetryOnce     Class = "retry once"
	ServerError   Class = "server error"
	Refused       Class = "refused"
)

// Rule maps a range of status codes to a class.
type Rule struct {
	From, To int
	Class    Class
}

// noStatus stands for a request that got no answer at all.
const noStatus = 0

// Rules is the table from status to class; the first match counts. Its source
// is the behaviour of RightLink 6; 429 is our addition.
func Rules() []Rule {
	return []Rule{
		{noStatus, noStatus, NotResponding},
		{200, 207, OK},
		{301, 302, Moved},
		{401, 401, Unauthorized},
		{403, 403, Expired},
		{408, 408, NotResponding},
		{429, 429, Throttled},
		{449, 449, RetryOnce},
		{502, 502, NotResponding},
		{503, 503, Throttled}, // not responding, but it may say for how long
		{504, 504, NotResponding},
		{500, 599, ServerError},
	}
}

// Classify looks a status up; anything unknown is Refused.
func Classify(status int) Class {
	for _, r := range Rules() {
		if r.From <= status && status <= r.To {
			return r.Class
		}
	}
	return Refused
}

// Schedule says how often and when to try again.
type Schedule struct {
	First  time.Duration // before the first repetition
	Factor float64       // growth from one wait to the next
	Max    time.Duration // the longest wait
	Tries  int           // repetitions; Forever for no limit
}

// Forever as Schedule.Tries repeats until the context ends.
const Forever = -1

// maxRetryAfter bounds how long a platform can send an agent away.
const maxRetryAfter = time.Hour

// jitter is the part of a wait that is left to chance, so that a fleet that
// lost its platform at one moment does not come back at one moment.
const jitter = 0.25

// Allows tells if repetition n (from 0) may happen.
func (s Schedule) Allows(n int) bool { return s.Tries == Forever || n < s.Tries }

// Wait returns the wait before repetition n. chance is in [0,1): half of the
// jitter lies below the nominal wait and half above. A Retry-After is the
// least wait, with jitter on top only.
func (s Schedule) Wait(n int, chance float64, retryAfter time.Duration) time.Duration {
	nominal := float64(s.First)
	for range n {
		if nominal *= s.Factor; nominal >= float64(s.Max) {
			nominal = float64(s.Max)
			break
		}
	}
	wait := time.Duration(nominal * (1 - jitter/2 + jitter*chance))
	if after := min(retryAfter, maxRetryAfter); after > 0 {
		wait = max(wait, after+time.Duration(float64(after)*jitter/2*chance))
	}
	return wait
}

// Policy gives each class its schedule; a class without one is not repeated.
type Policy map[Class]Schedule

// RunPolicy is how the running agent authorises: five more tries 5 s apart,
// after which Connect polls the health check; a refused token is tried again
// more and more rarely, for it may be accepted later.
func RunPolicy() Policy {
	rare := Schedule{First: time.Minute, Factor: 2, Max: time.Hour, Tries: Forever}
	return Policy{
		NotResponding: {First: 5 * time.Second, Factor: 1, Max: 5 * time.Second, Tries: 5},
		Throttled:     {First: 5 * time.Second, Factor: 1, Max: 5 * time.Second, Tries: 5},
		Unauthorized:  rare, Expired: rare, Moved: rare, RetryOnce: rare, ServerError: rare, Refused: rare,
	}
}

// EnrollPolicy is how "rightlink enroll" authorises: 4 s doubling to 64 s
// until its time is over; refusals as in RunPolicy.
func EnrollPolicy() Policy {
	p := RunPolicy()
	p[NotResponding] = Schedule{First: 4 * time.Second, Factor: 2, Max: 64 * time.Second, Tries: Forever}
	p[Throttled] = p[NotResponding]
	return p
}

// CallPolicy is how calls after the authorisation are repeated.
func CallPolicy() Policy {
	return Policy{
		NotResponding: {First: 4 * time.Second, Factor: 3, Max: 36 * time.Second, Tries: 3},
		Throttled:     {First: 4 * time.Second, Factor: 3, Max: 36 * time.Second, Tries: 3},
		RetryOnce:     {First: 4 * time.Second, Factor: 1, Max: 4 * time.Second, Tries: 1},
	}
}

// NoRetry leaves repeating to the caller; a renewal of the token is still
// followed by one more try.
func NoRetry() Policy { return Policy{} }
