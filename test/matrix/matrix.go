// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package matrix is for tests of the builders: it makes every call of a run
// against the local cloud go wrong in turn, in every way, at every position, and
// looks at what is left.
package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

// Run is what is tested.
type Run struct {
	// Seed makes what is there before, such as an image to be replaced.
	Seed func(ctx context.Context, c *Cloud) error
	// Do is the run. What it tells of its success may list what it could not
	// remove.
	Do func(ctx context.Context, c *Cloud) (told string, err error)
	// Done looks whether a run that says it succeeded left all that it should.
	Done func(ctx context.Context, c *Cloud) error
	// Removals are the actions with which the run removes things, such as
	// "ec2:DeleteSnapshot".
	Removals []string
	// Skip leaves actions out, such as those that only wait.
	Skip []string
}

// way is how a call goes wrong.
type way string

const (
	failing   way = "error"
	lost      way = "lost reply"
	allLost   way = "lost reply, and those of all repetitions"
	cancelled way = "cancelled before it acts"
	late      way = "cancelled while it acts"
	refusing  way = "error, and removals are refused from then on"
)

// ways are those that make a difference: what only reads leaves nothing behind
// when it acted and nobody heard of it.
func ways(action string) []way {
	if strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") || strings.HasPrefix(action, "List") {
		return []way{failing, lost, cancelled, refusing}
	}
	return []way{failing, lost, allLost, cancelled, late, refusing}
}

// cell is one call that goes wrong.
type cell struct {
	service, action string
	nth             int
	way             way
}

func (c cell) String() string {
	return fmt.Sprintf("%s:%s number %d: %s", c.service, c.action, c.nth, c.way)
}

// Test runs once with a healthy cloud, to learn the calls, and then once for each
// call and way, each time with a cloud of its own. Without RIGHTIMAGE_E2E, which
// "make test" sets, each call goes wrong in one of the ways only.
func Test(t *testing.T, r Run) {
	Quiet(t)
	seeded := r.seed(t)
	calls, found := r.learn(t, seeded)
	var cells []cell
	for _, name := range sorted(calls) {
		service, action, _ := strings.Cut(name, ":")
		if slices.Contains(r.Skip, name) {
			continue
		}
		for nth := 1; nth <= calls[name]; nth++ {
			for i, w := range ways(action) {
				if os.Getenv("RIGHTIMAGE_E2E") != "" || i == nth%len(ways(action)) {
					cells = append(cells, cell{service, action, nth, w})
				}
			}
		}
	}
	start := time.Now()
	before := inUse()
	var missed, survived atomic.Int32
	var group errgroup.Group
	group.SetLimit(8 * runtime.NumCPU()) // they wait more than they work
	for _, c := range cells {
		group.Go(func() error {
			switch err := r.one(t, seeded, found, c); {
			case errors.Is(err, errMissed):
				missed.Add(1)
			case errors.Is(err, errSurvived):
				survived.Add(1)
			case err != nil:
				t.Errorf("%s: %v", c, err)
			}
			return nil
		})
	}
	_ = group.Wait() // it has none
	t.Logf("%d calls of %d actions went wrong in %d runs, of which %d came through, and %d had no such call, in %s",
		total(calls), len(calls), len(cells), survived.Load(), missed.Load(), time.Since(start).Round(time.Second))
	if int(missed.Load()) > len(cells)/10 {
		t.Errorf("%d of %d runs did not come to the call that was to go wrong", missed.Load(), len(cells))
	}
	noLeak(t, before)
}

// seed makes what is there before a run, once for all runs, and returns the
// directory of the stopped cloud.
func (r Run) seed(t *testing.T) string {
	t.Helper()
	c, err := Start(t)
	if err == nil && r.Seed != nil {
		err = r.Seed(t.Context(), c)
	}
	if err != nil {
		t.Fatal("seed:", err)
	}
	c.end()
	return c.Dir
}

// learn lists what every run finds, and counts the calls of one in which nothing
// goes wrong.
func (r Run) learn(t *testing.T, seeded string) (calls map[string]int, found []Thing) {
	t.Helper()
	ctx := t.Context()
	c, err := startFrom(t, seeded)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if found, err = c.Things(ctx); err != nil {
		t.Fatal("list the seeded cloud:", err)
	}
	listing := c.Calls()
	if _, err := r.Do(ctx, c); err != nil {
		t.Fatal("a run with a healthy cloud:", err)
	}
	calls = c.Calls()
	for action, n := range listing {
		if calls[action] -= n; calls[action] == 0 {
			delete(calls, action)
		}
	}
	if err := r.Done(ctx, c); err != nil {
		t.Fatal("what a run with a healthy cloud leaves:", err)
	}
	return calls, found
}

// How a run ends that does not fail the test.
var (
	errMissed   = errors.New("the call did not come")
	errSurvived = errors.New("the run came through")
)

// one is a run in which one call goes wrong.
func (r Run) one(t *testing.T, seeded string, before []Thing, what cell) error {
	c, err := startFrom(t, seeded)
	if err != nil {
		return err
	}
	defer c.Stop()
	quiet := context.WithoutCancel(t.Context())
	ctx, cancel := context.WithCancel(quiet)
	defer cancel()
	rule, err := r.arm(c, what, cancel)
	if err != nil {
		return err
	}
	told, err := r.Do(ctx, c)
	hit := false
	for _, now := range c.Faults().List() {
		hit = hit || now.ID == rule && now.Hit > 0
	}
	c.Faults().Remove("")
	after, listErr := c.Things(quiet)
	switch {
	case listErr != nil:
		return listErr
	case !hit:
		return errMissed // side by side, one region may be ahead of another
	case err == nil:
		if err := r.complete(quiet, c, what, told); err != nil {
			return err
		}
		return errSurvived
	default:
		return r.undone(before, after, what, err)
	}
}

// arm makes the call go wrong.
func (r Run) arm(c *Cloud, what cell, cancel func()) (id string, err error) {
	rule := fault.Rule{Service: what.service, Action: what.action, Nth: what.nth, Times: 1}
	switch what.way {
	case failing, refusing:
		rule.Kind, rule.Code = fault.Error, codeOf(what.service)
	case lost:
		rule.Kind = fault.LostReply
	case allLost:
		rule.Kind, rule.Times = fault.LostReply, 1+maxRetries
	case cancelled:
		rule.Kind, rule.DelayMS, rule.OnHit = fault.Hang, time.Minute.Milliseconds(), cancel
	case late:
		rule.Kind, rule.OnHit = fault.LostReply, cancel
	}
	if what.way == refusing {
		rule.OnHit = func() {
			for _, name := range r.Removals {
				service, action, _ := strings.Cut(name, ":")
				_, addErr := c.Faults().Add(fault.Rule{Service: service, Action: action, Kind: fault.Deny})
				err = errors.Join(err, addErr)
			}
		}
	}
	added, addErr := c.Faults().Add(rule)
	return added.ID, errors.Join(err, addErr)
}

// codeOf is an error that no repetition mends.
func codeOf(service string) string {
	switch service {
	case "ec2":
		return "InvalidParameterValue"
	case "iam":
		return "ValidationError"
	default:
		return "ValidationException"
	}
}

// complete checks a run that says that it succeeded: everything is there, and
// nothing temporary, unless it was listed.
func (r Run) complete(ctx context.Context, c *Cloud, what cell, told string) error {
	if err := r.Done(ctx, c); err != nil && what.way != refusing && !strings.Contains(told, "left behind") {
		return fmt.Errorf("the run says that it succeeded, but %w", err)
	}
	return nil
}

// undone checks a run that failed: everything is as before, or what is not is
// listed, and nothing else is.
func (r Run) undone(before, after []Thing, what cell, failed error) error {
	text := failed.Error()
	if what.way != refusing && strings.Contains(text, "left behind") {
		return fmt.Errorf("things could have been removed, and were not: %w", failed)
	}
	var wrong []string
	for _, t := range Minus(after, before) {
		if t.Kind == "volume" && strings.HasPrefix(t.Text, "in-use") && strings.Contains(text, "terminate-instances") {
			continue // it goes with the instance that is listed
		}
		if what.way != refusing || !strings.Contains(text, t.ID) {
			wrong = append(wrong, "is left: "+t.String())
		}
	}
	for _, t := range Minus(before, after) {
		if what.way != refusing || !strings.Contains(text, t.ID) {
			wrong = append(wrong, "is gone: "+t.String())
		}
	}
	for _, id := range listed(text) {
		if !slices.ContainsFunc(after, func(t Thing) bool { return t.ID == id }) && !slices.ContainsFunc(before, func(t Thing) bool { return t.ID == id }) {
			wrong = append(wrong, "is listed, but not there: "+id)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("\n  %s\n  after: %w", strings.Join(wrong, "\n  "), failed)
	}
	return nil
}

// listed are the ids that begin a line of the list of what is left.
func listed(text string) []string {
	_, list, _ := strings.Cut(text, "left behind, remove by hand:")
	var ids []string
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && len(words) > 1 && strings.Contains(words[1], "-") && words[0] != "perhaps" {
			ids = append(ids, words[1])
		}
	}
	return ids
}
