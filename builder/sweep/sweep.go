// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package sweep finds and removes what interrupted builds and publications left
// in an account: it goes by owner tag and age. It never touches an image that is
// available and no staging image, nor a snapshot that an image or a catalogue
// uses.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Tags that leftovers are found by. The builders give them at creation.
const (
	tagTemporary = "rightimage:temporary" // of the things of one build
	tagCreated   = "rightimage:created"   // RFC 3339
	tagPublishID = "rightimage:publish-id"
)

// namePrefix starts the names of roles and instance profiles, which cannot be
// looked for by tag.
const namePrefix = "rightimage-"

// DefaultAge is how old a thing must be to count as a leftover: longer than any
// build takes.
const DefaultAge = 24 * time.Hour

// removeLimit bounds the removal in one region: instances take minutes to end, and
// their security groups wait for it.
const removeLimit = 5 * time.Minute

// regionsAtOnce bounds how many regions are searched at the same time.
const regionsAtOnce = 8

// Sweeper looks into one account.
type Sweeper struct {
	// OlderThan is the least age of a leftover.
	OlderThan time.Duration
	// Keep names snapshots that a catalogue lists.
	Keep []string
	// SkipIAM leaves roles and instance profiles alone.
	SkipIAM bool
	// Clock tells the time; nil means the real one.
	Clock wait.Clock

	regions func(region string) regionAPI
	iam     iamAPI
	command func(service, region, verb string, args ...string) string
	explain func(op, region string, err error) error
}

// New makes a Sweeper of the account that the factory's credentials belong to.
func New(f *awsx.Factory) *Sweeper {
	return &Sweeper{
		OlderThan: DefaultAge,
		regions:   func(region string) regionAPI { return f.EC2(region) },
		iam:       f.IAM(""),
		command:   f.Command,
		explain:   f.Explain,
	}
}

// Report is what was found, and what became of it.
type Report struct {
	// Leftovers are in the order of their removal, region by region.
	Leftovers []*Leftover `json:"leftovers"`
	// Younger counts what would be a leftover if it were older.
	Younger int `json:"younger"`
	// Problems are the searches that did not work: there may be more.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one kind of search that did not work.
type Problem struct {
	What    string   `json:"what"`
	Error   string   `json:"error"`
	Regions []string `json:"regions"`
}

func (p Problem) String() string {
	return fmt.Sprintf("look for %s in %s: %s", p.What, strings.Join(p.Regions, ", "), p.Error)
}

// add takes over what was found in one place.
func (r *Report) add(o Report) {
	r.Leftovers = append(r.Leftovers, o.Leftovers...)
	r.Younger += o.Younger
	for _, p := range o.Problems {
		i := slices.IndexFunc(r.Problems, func(q Problem) bool { return q.What == p.What && q.Error == p.Error })
		if i < 0 {
			r.Problems = append(r.Problems, p)
		} else {
			r.Problems[i].Regions = append(r.Problems[i].Regions, p.Regions...)
		}
	}
}

// Leftover is one thing that nobody uses any more.
type Leftover struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Region string `json:"region"` // "" for IAM, which has none
	// Created is the zero time when nothing tells it.
	Created time.Time `json:"created,omitzero"`
	// Why says why it counts as a leftover, Action what removing it means. An
	// empty Action: it is left to a person.
	Why    string `json:"why"`
	Action string `json:"action,omitempty"`
	// Removed is set by Remove, or Error is.
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
	// Remedy is the command with which a person does the same.
	Remedy string `json:"remedy"`

	remove func(context.Context) error
}

// Left returns what is there still.
func (r *Report) Left() []*Leftover {
	return slices.DeleteFunc(slices.Clone(r.Leftovers), func(l *Leftover) bool { return l.Removed })
}

// Find looks for leftovers in the given regions. What could not be searched is
// in the report; it is no reason not to search the rest.
func (s *Sweeper) Find(ctx context.Context, regions []string) *Report {
	found := make([]Report, len(regions)+1)
	var wg sync.WaitGroup
	slots := make(chan struct{}, regionsAtOnce)
	for i, region := range regions {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p := &place{Sweeper: s, api: s.regions(region), region: region, now: s.clock().Now()}
			p.findAll(ctx, &found[i], p.finders())
		})
	}
	if !s.SkipIAM {
		p := &place{Sweeper: s, now: s.clock().Now()}
		p.findAll(ctx, &found[len(regions)], p.globalFinders())
	}
	wg.Wait()
	all := &Report{Leftovers: []*Leftover{}}
	for _, r := range found {
		all.add(r)
	}
	return all
}

// finder looks for one kind of things, whatever their age.
type finder struct {
	what string // for messages
	find func(context.Context) ([]*Leftover, error)
}

// finders are in the order in which things can be removed: what uses others
// goes before them.
func (p *place) finders() []finder {
	return []finder{
		{"fleets", p.fleets},
		{"instances", p.instances},
		{"launch templates", p.launchTemplates},
		{"volumes", p.volumes},
		{"security groups", p.securityGroups},
		{"key pairs", p.keyPairs},
		{"images", p.images},
		{"snapshots", p.snapshots},
	}
}

// globalFinders are those of the things that belong to no region.
func (p *place) globalFinders() []finder {
	return []finder{
		{"instance profiles", p.instanceProfiles},
		{"roles", p.roles},
	}
}

func (p *place) findAll(ctx context.Context, r *Report, finders []finder) {
	for _, f := range finders {
		things, err := f.find(ctx)
		if err != nil && !answered(err) { // nor will the next call be
			r.Problems = append(r.Problems, Problem{What: "anything", Error: p.reason(err), Regions: []string{p.where()}})
			return
		}
		if err != nil {
			r.Problems = append(r.Problems, Problem{What: f.what, Error: p.reason(err), Regions: []string{p.where()}})
			continue
		}
		for _, l := range things {
			switch {
			case p.counts(l):
				r.Leftovers = append(r.Leftovers, l)
			case l.Created.IsZero():
				l.Why, l.Action = l.Why+"; its age is not known", ""
				r.Leftovers = append(r.Leftovers, l)
			default:
				r.Younger++
			}
		}
	}
}

// answered reports whether a failed call got an answer at all.
func answered(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api)
}

// Remove removes the leftovers of a report, each region by itself, and goes on
// past errors. What is left is in the report and in the error.
func (s *Sweeper) Remove(ctx context.Context, r *Report) error {
	var regions []string
	for _, l := range r.Leftovers {
		if !slices.Contains(regions, l.Region) && l.Region != "" {
			regions = append(regions, l.Region)
		}
	}
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { errs[i] = s.removeIn(ctx, r, region) })
	}
	wg.Wait()
	// Profiles go when the instances that have them are gone.
	return errors.Join(append(errs, s.removeIn(ctx, r, ""))...)
}

// removeIn lets a ledger do the work: it comes back to what others still held on
// the first round.
func (s *Sweeper) removeIn(ctx context.Context, r *Report, region string) error {
	owed := ledger.Ledger{Clock: s.Clock}
	for _, l := range slices.Backward(r.Leftovers) { // the last debt is paid first
		if l.Region != region || l.Removed {
			continue
		}
		owed.Owe(fmt.Sprintf("%s %s", l.Kind, l.ID), l.Remedy, func(undo context.Context) error {
			return s.removeOne(ctx, undo, l)
		})
	}
	return owed.Settle(ctx, removeLimit)
}

func (s *Sweeper) removeOne(ctx, undo context.Context, l *Leftover) error {
	if cause := context.Cause(ctx); cause != nil { // a person gave up: start nothing more
		l.Error = cause.Error()
		return ledger.Permanent(cause)
	}
	if l.Action == "" {
		l.Error = "left to you: " + l.Why
		return ledger.Permanent(errors.New(l.Error))
	}
	err := l.remove(undo)
	if err == nil || awsx.Class(err) == awsx.NotYet { // somebody was quicker
		l.Removed, l.Error = true, ""
		return nil
	}
	l.Error = err.Error()
	switch awsx.Class(err) {
	case awsx.Denied, awsx.Quota, awsx.Fatal:
		if !errors.Is(err, errStillThere) {
			return ledger.Permanent(err)
		}
	default:
	}
	return err
}

// errStillThere says that the removal was accepted and takes its time.
var errStillThere = errors.New("it is still going away")

func (s *Sweeper) clock() wait.Clock {
	if s.Clock != nil {
		return s.Clock
	}
	return wait.Real{}
}
