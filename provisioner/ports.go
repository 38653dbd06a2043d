// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"context"
	"io"
)

// Guest is the machine that is made into a RightImage. The communicator of any
// builder serves through commGuest.
type Guest interface {
	// Run runs a POSIX shell script as root.
	Run(ctx context.Context, script string) (Output, error)
	// Upload writes a file that root owns, with its mode from birth, and either
	// completely or not at all.
	Upload(ctx context.Context, path string, r io.Reader, mode uint32) error
}

// Output is what a script printed, and its exit status.
type Output struct {
	Stdout, Stderr string
	Code           int
}

// Agents are the programs that go into the guest; internal/agents has them.
type Agents interface {
	// Bootstrap returns the bootstrap program for amd64 or arm64.
	Bootstrap(arch string) ([]byte, error)
	// Packages returns RightLink's packages for amd64 or arm64.
	Packages(arch string) ([]Package, error)
}

// Package is a RightLink package file.
type Package struct {
	Name string
	Data []byte
}

// Reporter is told what happens; packersdk.Ui fits.
type Reporter interface {
	Say(message string)
}
