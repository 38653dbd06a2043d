// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// undoLimit is the clock of a step's undo. It runs on when the build is
// cancelled, and it ends when a device hangs.
const undoLimit = 3 * time.Minute

// action adapts a plain function to a step of the build. What the function owes
// is paid in reverse order when the build ends, whatever its end is.
type action struct {
	what string
	do   func(ctx context.Context, j *job) error
	job  *job
}

// job is what an action's function works with.
type job struct {
	state multistep.StateBag
	ui    packersdk.Ui
	debts []debt
}

type debt struct {
	what string
	pay  func(ctx context.Context) error
}

func act(what string, do func(ctx context.Context, j *job) error) *action {
	return &action{what: what, do: do}
}

// owe registers the undo of what is about to be made or has just been made.
func (j *job) owe(what string, pay func(ctx context.Context) error) {
	j.debts = append(j.debts, debt{what, pay})
}

// Run implements multistep.Step.
func (a *action) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	ui, ok := state.Get("ui").(packersdk.Ui)
	if !ok {
		state.Put("error", fmt.Errorf("%s: no ui in the state", a.what))
		return multistep.ActionHalt
	}
	a.job = &job{state: state, ui: ui}
	err := ctx.Err()
	if err == nil {
		err = a.do(ctx, a.job)
	}
	if err != nil {
		return halt(state, ui, a.what, err)
	}
	return multistep.ActionContinue
}

// Cleanup implements multistep.Step. It goes on past errors and prints what it
// could not undo.
func (a *action) Cleanup(multistep.StateBag) {
	if a.job == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	for i := len(a.job.debts) - 1; i >= 0; i-- {
		d := a.job.debts[i]
		if err := d.pay(ctx); err != nil {
			a.job.ui.Error(fmt.Sprintf("left behind: %s: %v", d.what, err))
		}
	}
	a.job.debts = nil
}
