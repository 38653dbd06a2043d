// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// outcome says what a failed call means to a job.
type outcome int

const (
	// later: nothing was done, or doing it again does no harm; try again.
	later outcome = iota
	// unsure: it may have been done.
	unsure
	// never: the cloud has refused, and will again.
	never
	// absent: the machine does not exist (any more).
	absent
	// wrongState: the machine is in a state that does not allow it now.
	wrongState
)

// meaning sorts the error of a call.
func meaning(err error) outcome {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed":
			return absent
		case "IncorrectInstanceState", "IncorrectState":
			return wrongState
		case "InsufficientInstanceCapacity", "InsufficientAddressCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity":
			return later // with HTTP 500, but nothing was done
		}
	}
	switch awsx.Class(err) {
	case awsx.Throttled:
		return later
	case awsx.Network, awsx.Cancelled:
		return unsure
	default:
		return never
	}
}

// Waits between two tries of a call, and between two looks at a machine.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// backoff is the wait before the next try: it doubles, with chance in it so
// that the jobs of a replica that was away do not come at one moment, and is not
// less than what the cloud asks for.
func backoff(attempts int, err error) time.Duration {
	wait := maxRetry
	if attempts < 6 {
		wait = firstRetry << attempts
	}
	wait = wait*3/4 + rand.N(wait/2+1) //nolint:gosec // no secret
	return max(wait, min(awsx.RetryAfter(err), 10*time.Minute))
}

// failure tells an error to a person, in one line.
func failure(op string, err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return op + ": the cloud does not answer"
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		return op + ": " + api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return op + ": " + err.Error()
}
