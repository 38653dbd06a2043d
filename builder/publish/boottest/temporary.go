// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Tags of everything that a test makes. "rightimage sweep" finds leftovers by
// them.
const (
	tagTemporary = "rightimage:temporary"
	tagCreated   = "rightimage:created"
)

// thing is something that a test is about to make.
type thing struct {
	kind string // "security group"
	// find is the command that lists it although its id is unknown.
	find string
	// lookup returns the ids of what the call has made, if it has.
	lookup func(context.Context) ([]string, error)
	remove func(ctx context.Context, id string) error
	remedy func(id string) string
}

// make makes a thing. Its undo is owed before the call, since a reply may get
// lost; once the id is known, it is the undo of that id.
func (t *Test) make(ctx context.Context, what thing, create func(context.Context) (string, error)) (string, error) {
	began, id := time.Now(), ""
	debt := t.Owed.Owe("perhaps a "+what.kind+" in "+t.Region+" whose id was never told", what.find, func(ctx context.Context) error {
		return t.remove(ctx, what, id, began)
	})
	made, err := create(ctx)
	if err != nil {
		if awsx.MadeNothing(ctx, err) {
			t.Owed.Forgive(debt)
		}
		return "", t.fail("make a "+what.kind+" for the boot test", err)
	}
	id = made
	debt.What, debt.Remedy = what.kind+" "+id+" in "+t.Region, what.remedy(id)
	return id, nil
}

// remove removes a thing, or what a call has made whose reply never came.
func (t *Test) remove(ctx context.Context, what thing, id string, began time.Time) error {
	ids := []string{id}
	if id == "" {
		found, err := what.lookup(ctx)
		if err != nil && awsx.Class(err) != awsx.NotYet {
			return verdict(err)
		}
		if len(found) == 0 && time.Since(began) < t.Fresh {
			return fmt.Errorf("the call was so short ago that the %s may not be seen yet", what.kind)
		}
		ids = found
	}
	for _, id := range ids {
		err := what.remove(ctx, id)
		switch {
		case err == nil:
		case errors.Is(err, errBusy):
			return err
		case awsx.Class(err) == awsx.NotYet && time.Since(began) >= t.Fresh:
		case awsx.Class(err) == awsx.NotYet:
			return fmt.Errorf("it is so new that this may not be true yet: %w", err)
		default:
			return verdict(err)
		}
	}
	return nil
}

// errBusy marks an undo that is under way and must be asked for again.
var errBusy = errors.New("it is still shutting down")

// verdict marks the errors that no repetition mends.
func verdict(err error) error {
	if awsx.Hopeless(err) {
		return ledger.Permanent(err)
	}
	return err
}

// patiently repeats a call for as long as what it needs may be too new to be
// seen everywhere.
func (t *Test) patiently(ctx context.Context, call func(context.Context) error) error {
	w := t.waiter()
	w.Deadline = max(t.Known, time.Second)
	var last error
	err := w.Until(ctx, "what the machine needs to be known", func(ctx context.Context) (bool, error) {
		if last = call(ctx); last != nil && awsx.Class(last) == awsx.NotYet {
			return false, nil
		}
		return true, last
	})
	var late *wait.TimeoutError
	if errors.As(err, &late) {
		return last
	}
	return err
}

// waiter polls until the test's own time is over.
func (t *Test) waiter() wait.Waiter { return wait.Waiter{Delay: t.Waiter.Delay, Clock: t.Waiter.Clock} }

// fail explains a failed call.
func (t *Test) fail(op string, err error) error { return t.Explain(op, t.Region, err) }

// name is the name of temporary things that have one.
func (t *Test) name() string { return "rightimage-boot-test-" + t.Build }

// tagged is the tag specification of one kind of things.
func (t *Test) tagged(kind types.ResourceType) types.TagSpecification {
	return types.TagSpecification{ResourceType: kind, Tags: []types.Tag{
		{Key: aws.String(tagCreated), Value: aws.String(time.Now().UTC().Format(time.RFC3339))},
		{Key: aws.String(tagTemporary), Value: aws.String(t.Build)},
		{Key: aws.String("Name"), Value: aws.String(t.name())},
	}}
}

// mine finds what this test has made; mineText is the same for the command line.
func (t *Test) mine() []types.Filter {
	return []types.Filter{{Name: aws.String("tag:" + tagTemporary), Values: []string{t.Build}}}
}

func (t *Test) mineText() string { return "Name=tag:" + tagTemporary + ",Values=" + t.Build }
