// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package instance is the logic of the rightboot stage: which kind of boot this
// is, by instance id and boot id, and what must be forgotten or flagged.
package instance

import (
	"context"
	"errors"
	"time"
)

// Kind is a kind of boot.
type Kind string

// The kinds of boot.
const (
	FirstBoot Kind = "first-boot"   // no marker of an earlier boot
	SameBoot  Kind = "same-boot"    // the stage ran before in this boot
	Reboot    Kind = "reboot"       // same instance, new boot
	StopStart Kind = "stop-start"   // same instance, was stopped in between
	Cloned    Kind = "cloned-image" // another instance's disk; its identity is wiped
)

// Check tells the kind of this boot and acts on it: a changed instance id wipes
// the old identity, agent state, caches, spool and status; a reboot sets the
// reboot flag in the agent's state.js. The marker that Check compares with is
// written last, so a killed Check is repeated in full.
func Check(root, instanceID string) (Kind, error) { return "", errors.New("not built yet") }

// ErrNoNetwork means that the bound of WaitNetwork passed.
var ErrNoNetwork = errors.New("no usable network address")

// WaitNetwork waits until a network interface other than loopback is up with an
// address, at most for bound; then ErrNoNetwork.
func WaitNetwork(ctx context.Context, bound time.Duration) error { return errors.New("not built yet") }

// BootID is the kernel's id of this boot, or "" when it cannot be read.
func BootID(root string) string { return "" }
