// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"time"

	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// rule is what follows from the class of an error.
type rule struct {
	class awsx.ErrorClass
	// again: the call is repeated. soon: only while the snapshot is young.
	again, soon bool
	// first and longest pause before the repetition; it doubles from one to the
	// other and is spread.
	first, longest time.Duration
	// crowded: there are too many requests per second.
	crowded bool
	// nothing: a failed call has certainly not made anything. After throttling
	// or a conflict that is open: an earlier try may have got through.
	nothing bool
}

// rules is the one place that says what an error means for an upload. Pauses
// after throttling are short because the rate goes down as well.
func rules() []rule {
	return []rule{
		{class: awsx.Throttled, again: true, first: 50 * time.Millisecond, longest: time.Second, crowded: true},
		{class: awsx.Network, again: true, first: 100 * time.Millisecond, longest: 5 * time.Second},
		{class: awsx.NotYet, soon: true, first: 500 * time.Millisecond, longest: 5 * time.Second},
		{class: awsx.Conflict},
		{class: awsx.Denied, nothing: true},
		{class: awsx.Quota, nothing: true},
		{class: awsx.Fatal, nothing: true},
		{class: awsx.Cancelled},
	}
}

// ruleFor returns the rule of an error.
func ruleFor(err error) rule {
	class := awsx.Class(err)
	for _, r := range rules() {
		if r.class == class {
			return r
		}
	}
	return rule{class: class}
}

// tooMany reports whether a throttled request was one too many at a time, not per
// second: then the gate gets narrower, and the rate is left alone.
func tooMany(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ConcurrentLimitExceededException"
}

// late reports whether a failed try ended by its own deadline.
func late(one, whole context.Context) bool { return one.Err() != nil && whole.Err() == nil }
