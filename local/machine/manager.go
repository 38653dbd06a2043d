// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package machine runs EC2 instances as QEMU machines on this host.
package machine

import (
	"context"
	"errors"
	"time"
)

// Manager owns the machines of one local cloud.
type Manager struct{ opts Options }

// New makes a Manager without starting anything.
func New(opts Options) *Manager { return &Manager{opts: opts} }

var errTodo = errors.New("not written yet")

// Start boots the machine and returns once QEMU runs it (the guest is then
// still booting). An overlay left by an earlier run is booted again.
func (m *Manager) Start(_ context.Context, _ Spec) error { return errTodo }

// Stop presses the power button, and ends QEMU when the guest is not off
// within bound. Stopping a stopped machine is no error.
func (m *Manager) Stop(_ context.Context, _ string, _ time.Duration) error { return errTodo }

// Reboot shuts the guest down and boots the same disk again; a guest that does
// not shut down in time is reset. It returns when the machine boots again.
func (m *Manager) Reboot(_ context.Context, _ string) error { return errTodo }

// Console returns what the machine wrote to its serial console, at most the
// last MiB.
func (m *Manager) Console(_ string) ([]byte, error) { return nil, errTodo }

// Status tells the state of a machine.
func (m *Manager) Status(_ string) (Status, error) { return Status{}, errTodo }

// Forget drops a stopped machine from memory; its Dir is the caller's to remove.
func (m *Manager) Forget(_ string) error { return errTodo }

// Close ends all machines at once and waits until no QEMU is left.
func (m *Manager) Close() error { return errTodo }
