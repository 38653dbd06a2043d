// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package boottest launches a new image before anybody else can see it, looks at
// the machine, and ends it again.
package boottest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
	"github.com/rightimage/packer-plugin-rightimage/verify"
)

// Test is the boot test of one image. It is used once.
type Test struct {
	// Config has gone through Prepare.
	Config
	// EC2 is the region that the image is in, by the name of Region.
	EC2    Control
	Region string
	// Image is the image as EC2 describes it.
	Image types.Image
	// Build is the value of the tag rightimage:temporary of what the test makes.
	Build string
	// Owed gets the undo of all that. Whoever calls Run settles it, whatever the
	// outcome is.
	Owed *ledger.Ledger
	// Waiter polls; its attempts do not count, since Timeout bounds the test.
	Waiter wait.Waiter
	// Fresh is how long an undo looks for a thing that may not be seen yet, Known how
	// long a call is repeated that needs one.
	Fresh, Known time.Duration
	// Local is true when the cloud is on this machine.
	Local bool
	// Public is true for an image that everybody gets, and Waivers accept findings.
	Public  bool
	Waivers []verify.Waiver
	// Explain adds what a person can do about a failed call.
	Explain func(op, region string, err error) error
	// Command is what a person types to make a call to EC2.
	Command func(verb string, args ...string) string
	// Say tells what happens.
	Say func(format string, args ...any)

	// dial and echo are replaced by tests: how a machine is logged in to, and who
	// tells this machine's public address.
	dial dialer
	echo string

	key      *key
	groups   []string
	instance string
	shell    shell
	first    facts  // before the reboot
	hostKey  string // likewise
	report   verify.Report
	ending   []string // instances that EC2 has agreed to terminate
}

// Run launches the image and looks at the machine. The error is a *FailedError
// when the image is not fit to be shared.
func (t *Test) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout, errLate)
	defer cancel()
	defer t.hangUp()
	for _, do := range []func(context.Context) error{
		t.makeKey,
		t.openGroup,
		t.launch,
		t.awaitRunning,
		t.awaitLogin,
		t.look,
		t.lookAgain,
	} {
		if err := do(ctx); err != nil {
			return t.failure(ctx, err)
		}
	}
	return t.verdict(ctx)
}

// errLate is why a test ends that takes too long.
var errLate = errors.New("boot_test.timeout is over")

// unfit ends a test early: what a check found leaves nothing more to look at.
type unfit struct{ check, evidence string }

func (u *unfit) Error() string { return u.check + ": " + u.evidence }

// failure judges the error of a step: what the machine does wrong is a finding
// like any other, which may be waived.
func (t *Test) failure(ctx context.Context, err error) error {
	var u *unfit
	switch {
	case errors.As(err, &u):
	case late(ctx) && !errors.Is(err, errLate):
		return fmt.Errorf("%w: %w", errLate, err)
	default:
		return err
	}
	t.tell(u.check, "%s", u.evidence)
	return t.verdict(ctx)
}
