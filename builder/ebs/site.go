// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

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

// Tags of everything temporary. "rightimage sweep" finds leftovers by them.
const (
	tagTemporary = "rightimage:temporary"
	tagCreated   = "rightimage:created"
)

// How long a new thing may be unknown to some of the service's machines: until
// an undo may believe that there is none, and until a call that needs it gives
// up. IAM is known to take the better part of a minute.
const (
	freshTime = 15 * time.Second
	knownTime = 2 * time.Minute
)

// site is where, and for which build, the plain functions of this package work.
type site struct {
	region string
	// build identifies the build in names and tags.
	build   string
	created time.Time
	owed    *ledger.Ledger
	// waiter polls as the template says.
	waiter wait.Waiter
	fresh  time.Duration
	// survivors are volumes that do not go with the machine.
	survivors []string
	// local is true when the cloud is on this machine.
	local bool
	// command is what a person types to make a call.
	command func(service, verb string, args ...string) string
	explain func(op, region string, err error) error
	say     func(format string, args ...any)
}

// name is the name of temporary things that have one.
func (s *site) name() string { return "rightimage-" + s.build }

// tags are the tags of temporary things, and more.
func (s *site) tags(more map[string]string) []types.Tag {
	tags := []types.Tag{
		{Key: aws.String(tagCreated), Value: aws.String(s.created.UTC().Format(time.RFC3339))},
		{Key: aws.String(tagTemporary), Value: aws.String(s.build)},
	}
	if more["Name"] == "" {
		tags = append(tags, types.Tag{Key: aws.String("Name"), Value: aws.String(s.name())})
	}
	for _, k := range sortedKeys(more) {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(more[k])})
	}
	return tags
}

// tagged is the tag specification of one kind of temporary things.
func (s *site) tagged(kind types.ResourceType, more map[string]string) types.TagSpecification {
	return types.TagSpecification{ResourceType: kind, Tags: s.tags(more)}
}

// mine finds what this build has made.
func (s *site) mine() []types.Filter {
	return []types.Filter{filter("tag:"+tagTemporary, s.build)}
}

// mineText is mine for the command line.
func (s *site) mineText() string { return "Name=tag:" + tagTemporary + ",Values=" + s.build }

func tagOf(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// fail explains a failed call.
func (s *site) fail(op string, err error) error { return s.explain(op, s.region, err) }

// patiently repeats a call for as long as what it needs, and what was just made, may
// be too new to be seen everywhere.
func (s *site) patiently(ctx context.Context, what string, call func(context.Context) error) error {
	w := wait.Waiter{Delay: min(s.waiter.Delay, 2*time.Second), Deadline: knownTime, Clock: s.waiter.Clock}
	var last error
	err := w.Until(ctx, what, func(ctx context.Context) (bool, error) {
		if last = call(ctx); last != nil && awsx.Class(last) == awsx.NotYet {
			return false, nil
		}
		return true, last
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return last
	}
	return err
}

// thing is one temporary thing that is about to be made.
type thing struct {
	// kind names it: "security group".
	kind string
	// find is the command that lists it although its id is unknown.
	find string
	// lookup returns the ids of what the call has made, if it has.
	lookup func(context.Context) ([]string, error)
	// remove removes it. "Not found" is for the caller to judge.
	remove func(ctx context.Context, id string) error
	// remedy is the command that removes it.
	remedy func(id string) string
}

// make makes a thing. The undo is owed before the call, for the case in which
// no reply comes, and in the line after it, when the id is known.
func (s *site) make(ctx context.Context, t thing, create func(context.Context) (string, error)) (string, error) {
	began := s.now()
	unknown := s.owed.Owe(fmt.Sprintf("perhaps a %s in %s whose id was never told", t.kind, s.region), t.find,
		func(ctx context.Context) error { return s.removeUnknown(ctx, t, began) })
	id, err := create(ctx)
	if err == nil {
		s.owe(t, id)
		s.owed.Forgive(unknown)
		return id, nil
	}
	if certainlyNothing(err) {
		s.owed.Forgive(unknown)
	}
	return "", s.fail("make a "+t.kind, err)
}

// owe records that a thing exists.
func (s *site) owe(t thing, id string) {
	made := s.now()
	s.owed.Owe(fmt.Sprintf("%s %s in %s", t.kind, id, s.region), t.remedy(id), func(ctx context.Context) error {
		return s.gone(t.remove(ctx, id), made)
	})
}

// removeUnknown removes what a call has made whose reply never came.
func (s *site) removeUnknown(ctx context.Context, t thing, began time.Time) error {
	ids, err := t.lookup(ctx)
	if err != nil && awsx.Class(err) != awsx.NotYet {
		return verdict(err)
	}
	if len(ids) == 0 && s.now().Sub(began) < s.fresh {
		return fmt.Errorf("the call was so short ago that the %s may not be seen yet", t.kind)
	}
	for _, id := range ids {
		if err := s.gone(t.remove(ctx, id), began); err != nil {
			return err
		}
	}
	return nil
}

// gone turns "not found" into success, but only once the thing is old enough
// for the answer to be true.
func (s *site) gone(err error, made time.Time) error {
	if err == nil || awsx.Class(err) != awsx.NotYet {
		return verdict(err)
	}
	if s.now().Sub(made) >= s.fresh {
		return nil
	}
	return fmt.Errorf("it is so new that this may not be true yet: %w", err)
}

func (s *site) now() time.Time {
	if s.waiter.Clock != nil {
		return s.waiter.Clock.Now()
	}
	return time.Now()
}

// verdict marks the errors that no repetition mends.
func verdict(err error) error {
	if err == nil || mendable(err) {
		return err
	}
	return ledger.Permanent(err)
}

func mendable(err error) bool {
	var b *busyError
	return errors.As(err, &b) || !awsx.Hopeless(err)
}

// busyError says that an undo is under way and must be asked for again.
type busyError struct{ error }

func busy(err error) error { return &busyError{err} }

// certainlyNothing reports whether a failed create call is known to have made
// nothing.
func certainlyNothing(err error) bool {
	switch awsx.Class(err) {
	case awsx.Denied, awsx.Quota, awsx.Fatal:
		return true
	default:
		return false
	}
}
