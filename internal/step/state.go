// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package step is how the builders make Packer's steps: typed keys of the state
// that steps share, plain functions as steps that owe their undo, and the one
// reading of how a build ended.
package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Key is a typed name in the state that steps share.
type Key[T any] string

// Get returns the value of a key, or an error when an earlier step has not made
// it.
func (k Key[T]) Get(state multistep.StateBag) (T, error) {
	raw, ok := state.GetOk(string(k))
	v, typed := raw.(T)
	if !ok || !typed {
		return v, fmt.Errorf("state %q is missing or has the wrong type %T", string(k), raw)
	}
	return v, nil
}

// Put stores the value of a key.
func (k Key[T]) Put(state multistep.StateBag, v T) { state.Put(string(k), v) }

// halt ends a step: it wraps the error, stores it, prints it, and stops the
// build.
func halt(state multistep.StateBag, ui packersdk.Ui, what string, err error) multistep.StepAction {
	err = fmt.Errorf("%s: %w", what, err)
	state.Put("error", err)
	ui.Error(err.Error())
	return multistep.ActionHalt
}

// Failed reports whether the build is being undone rather than finished.
func Failed(state multistep.StateBag) bool {
	for _, k := range []string{multistep.StateCancelled, multistep.StateHalted, "error"} {
		if _, ok := state.GetOk(k); ok {
			return true
		}
	}
	return false
}

// Outcome tells how a build ended when its runner has returned. Nothing but a
// build that ran to its end is a success: a step of the SDK may halt without an
// error.
func Outcome(ctx context.Context, state multistep.StateBag) error {
	if err, ok := state.Get("error").(error); ok {
		return err
	}
	if _, ok := state.GetOk(multistep.StateCancelled); ok {
		return errors.New("the build was cancelled")
	}
	if _, ok := state.GetOk(multistep.StateHalted); ok {
		return errors.New("the build was halted")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the build was cancelled: %w", err)
	}
	return nil
}
