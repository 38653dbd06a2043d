// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// Exit codes. They are part of the commands' interface: see
// docs/publishing-cli.md.
const (
	exitFailed      = 1   // the command failed; what it had made is gone again
	exitUsage       = 2   // wrong flags or options; nothing was tried
	exitLeft        = 3   // something is left behind, and listed
	exitFindings    = 4   // an image has findings, and they are listed
	exitInterrupted = 130 // stopped by a signal; what it had made is gone again
)

// usageError marks what is wrong with the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errLeft says that things are left which the command has listed already.
var errLeft = errors.New("leftovers")

// exitCode tells scripts how a command ended.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	var left *ledger.LeftoverError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &left), errors.Is(err, errLeft):
		return exitLeft
	case errors.Is(err, errFindings):
		return exitFindings
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	default:
		return exitFailed
	}
}
