// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fault makes calls to the local cloud go wrong on purpose: at the n-th
// call of an action, for so many calls, in one of a few ways.
package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Kind is a way for a call to go wrong.
type Kind string

// The kinds of faults.
const (
	// Error answers with an error of the service instead of acting.
	Error Kind = "error"
	// Deny answers that the caller may not do this, in the service's words.
	Deny Kind = "deny"
	// Throttle answers that there were too many calls, in the service's words.
	Throttle Kind = "throttle"
	// Delay acts after a while.
	Delay Kind = "delay"
	// LostReply acts, then closes the connection instead of answering.
	LostReply Kind = "lost-reply"
	// Drop closes the connection without acting.
	Drop Kind = "drop"
	// Reset breaks the connection off with a TCP reset, without acting.
	Reset Kind = "reset"
	// Hang neither acts nor answers until the delay is over, the fault is, or
	// the client gives up; then the connection is closed.
	Hang Kind = "hang"
	// Unseen answers that a thing does not exist which was made after the rule
	// was added, for the first Times calls that name it: AWS's replicas are like that.
	Unseen Kind = "unseen"
)

// Kinds lists all kinds, for help texts and checks.
func Kinds() []Kind {
	return []Kind{Error, Deny, Throttle, Delay, LostReply, Drop, Reset, Hang, Unseen}
}

// Rule says which calls go wrong and how.
type Rule struct {
	// ID is given by Add.
	ID string `json:"id"`
	// Action is the name of an API action; * and ? are wildcards.
	Action string `json:"action"`
	// Service is "ec2", "ebs", "sts", "iam", "ssm" or "s3"; empty for any.
	Service string `json:"service,omitempty"`
	// Region limits the rule to one region; empty for any.
	Region string `json:"region,omitempty"`
	// Nth is the first matching call that goes wrong, counted from 1 since the
	// rule was added; 0 means 1.
	Nth int `json:"nth,omitempty"`
	// Times is how many calls go wrong; 0 means all from Nth on.
	Times int `json:"times,omitempty"`
	// Percent lets only so many of the calls go wrong, drawn by lot; 0 means all.
	// The same Seed gives the same lots.
	Percent float64 `json:"percent,omitempty"`
	Seed    uint64  `json:"seed,omitempty"`
	// PerSecond lets only those calls of a region go wrong that exceed this rate;
	// a tenth of a second's worth may come at once. 0 means all.
	PerSecond float64 `json:"per_second,omitempty"`
	// ForMS ends the rule so long after it was added; 0 means never.
	ForMS int64 `json:"for_ms,omitempty"`

	Kind    Kind   `json:"kind"`
	Code    string `json:"code,omitempty"`     // Error: the service's error code
	Message string `json:"message,omitempty"`  // Error: the text
	Reason  string `json:"reason,omitempty"`   // Error: the reason, for the EBS direct API
	Status  int    `json:"status,omitempty"`   // Error: the HTTP status; 0 means 400
	DelayMS int64  `json:"delay_ms,omitempty"` // how long to wait before acting, for any kind

	// Seen and Hit count the calls that matched and those that went wrong.
	Seen int `json:"seen"`
	Hit  int `json:"hit"`

	// OnHit, in the same process, is called for each call that goes wrong, before
	// it does: a test cancels the caller in it.
	OnHit func() `json:"-"`

	added time.Time
	lots  *rand.Rand
	rates map[string]*rate.Limiter // by region
	named map[string]int           // Unseen: how often a thing was named
	last  string                   // Unseen: what the call at hand names
	gone  chan struct{}            // closed when the rule is removed
}

// Named is the thing that a call of the kind Unseen names.
func (r Rule) Named() string { return r.last }

// Wait is the delay of the rule.
func (r Rule) Wait() time.Duration { return time.Duration(r.DelayMS) * time.Millisecond }

// Over is closed when the rule is removed.
func (r Rule) Over() <-chan struct{} { return r.gone }

// Left is how long the rule holds from now on; false when it has no end.
func (r Rule) Left(now time.Time) (time.Duration, bool) {
	return r.added.Add(r.forHowLong()).Sub(now), r.ForMS > 0
}

func (r Rule) forHowLong() time.Duration { return time.Duration(r.ForMS) * time.Millisecond }

func (r Rule) check() error {
	var errs []error
	if !slices.Contains(Kinds(), r.Kind) {
		errs = append(errs, fmt.Errorf("kind %q: must be one of %v", r.Kind, Kinds()))
	}
	if r.Action == "" {
		errs = append(errs, errors.New("action: must name an API action, such as PutSnapshotBlock, or * for all"))
	} else if _, err := path.Match(r.Action, ""); err != nil {
		errs = append(errs, fmt.Errorf("action %q: %w", r.Action, err))
	}
	if r.Nth < 0 || r.Times < 0 || r.DelayMS < 0 || r.PerSecond < 0 || r.ForMS < 0 {
		errs = append(errs, errors.New("nth, times, delay, rate and for: must not be negative"))
	}
	if r.Percent < 0 || r.Percent > 100 {
		errs = append(errs, fmt.Errorf("percent %v: must be between 0 and 100", r.Percent))
	}
	if r.Kind == Unseen && r.Times == 0 {
		errs = append(errs, errors.New("times: the kind unseen needs the number of calls for which a thing is not seen"))
	}
	if r.Kind == Error && r.Code == "" {
		errs = append(errs, errors.New("code: the kind error needs the error code of the service, such as InternalError"))
	}
	if r.Kind == Delay && r.DelayMS == 0 {
		errs = append(errs, errors.New("delay: the kind delay needs a time"))
	}
	if r.Status != 0 && (r.Status < 400 || r.Status > 599) {
		errs = append(errs, fmt.Errorf("status %d: must be between 400 and 599", r.Status))
	}
	return errors.Join(errs...)
}

// Set holds the rules of one server and counts its calls. The zero value is ready.
type Set struct {
	mu    sync.Mutex
	rules []Rule
	last  int
	calls map[string]int
}

// Add checks a rule and puts it last.
func (s *Set) Add(r Rule) (Rule, error) {
	if err := r.check(); err != nil {
		return r, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	r.ID, r.Seen, r.Hit = strconv.Itoa(s.last), 0, 0
	r.Nth = max(r.Nth, 1)
	r.added, r.lots = time.Now(), rand.New(rand.NewPCG(r.Seed, 0)) //nolint:gosec // repeatable, not secret
	r.rates, r.named, r.gone = map[string]*rate.Limiter{}, map[string]int{}, make(chan struct{})
	s.rules = append(s.rules, r)
	return r, nil
}

// List returns the rules with their counters.
func (s *Set) List() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Rule{}, s.rules...)
}

// Remove drops one rule, or all when id is empty. It tells how many went.
func (s *Set) Remove(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.rules)
	s.rules = slices.DeleteFunc(s.rules, func(r Rule) bool {
		drop := id == "" || r.ID == id
		if drop {
			close(r.gone)
		}
		return drop
	})
	return before - len(s.rules)
}

// Calls returns how often each action was called since the start, as "ec2:RunInstances".
func (s *Set) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for k, n := range s.calls {
		out[k] = n
	}
	return out
}

// Next counts a call and returns the rule that it falls under, if any. All
// matching rules count it; the first that is due wins.
func (s *Set) Next(c Call) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[c.Service+":"+c.Action]++
	now := time.Now()
	var hit *Rule
	for i := range s.rules {
		r := &s.rules[i]
		if r.matches(c, now) && r.due(c, now) && hit == nil {
			r.Hit++
			hit = r
		}
	}
	if hit == nil {
		return Rule{}, false
	}
	return *hit, true
}

// ParseDeny makes a rule of "ec2:RegisterImage", "RegisterImage" or "ebs:*".
func ParseDeny(text string) (Rule, error) {
	service, action, ok := strings.Cut(text, ":")
	if !ok {
		service, action = "", text
	}
	r := Rule{Service: service, Action: action, Kind: Deny}
	return r, r.check()
}

// StatusOf is the HTTP status of an Error rule.
func (r Rule) StatusOf() int {
	if r.Status == 0 {
		return http.StatusBadRequest
	}
	return r.Status
}
