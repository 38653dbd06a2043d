// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fault makes calls to the local cloud go wrong on purpose: at the n-th
// call of an action, for so many calls, in one of a few ways.
package fault

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
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
)

// Kinds lists all kinds, for help texts and checks.
func Kinds() []Kind { return []Kind{Error, Deny, Throttle, Delay, LostReply, Drop} }

// Rule says which calls go wrong and how.
type Rule struct {
	// ID is given by Add.
	ID string `json:"id"`
	// Action is the name of an API action; * and ? are wildcards.
	Action string `json:"action"`
	// Service is "ec2", "ebs" or "sts"; empty for any.
	Service string `json:"service,omitempty"`
	// Region limits the rule to one region; empty for any.
	Region string `json:"region,omitempty"`
	// Nth is the first matching call that goes wrong, counted from 1 since the
	// rule was added; 0 means 1.
	Nth int `json:"nth,omitempty"`
	// Times is how many calls go wrong; 0 means all from Nth on.
	Times int `json:"times,omitempty"`

	Kind    Kind   `json:"kind"`
	Code    string `json:"code,omitempty"`     // Error: the service's error code
	Message string `json:"message,omitempty"`  // Error: the text
	Reason  string `json:"reason,omitempty"`   // Error: the reason, for the EBS direct API
	Status  int    `json:"status,omitempty"`   // Error: the HTTP status; 0 means 400
	DelayMS int64  `json:"delay_ms,omitempty"` // how long to wait before acting, for any kind

	// Seen and Hit count the calls that matched and those that went wrong.
	Seen int `json:"seen"`
	Hit  int `json:"hit"`
}

// Wait is the delay of the rule.
func (r Rule) Wait() time.Duration { return time.Duration(r.DelayMS) * time.Millisecond }

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
	if r.Nth < 0 || r.Times < 0 || r.DelayMS < 0 {
		errs = append(errs, errors.New("nth, times and delay: must not be negative"))
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

func (r Rule) matches(service, region, action string) bool {
	ok, _ := path.Match(r.Action, action) // checked by Add
	return ok && (r.Service == "" || r.Service == service) && (r.Region == "" || r.Region == region)
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
	s.rules = slices.DeleteFunc(s.rules, func(r Rule) bool { return id == "" || r.ID == id })
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
func (s *Set) Next(service, region, action string) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[service+":"+action]++
	var due *Rule
	for i := range s.rules {
		r := &s.rules[i]
		if !r.matches(service, region, action) {
			continue
		}
		r.Seen++
		if due == nil && r.Seen >= r.Nth && (r.Times == 0 || r.Seen < r.Nth+r.Times) {
			r.Hit++
			due = r
		}
	}
	if due == nil {
		return Rule{}, false
	}
	return *due, true
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
