// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// UndoLimit is the clock of a step's undo. It runs on when the build is
// cancelled, and it ends when a device hangs.
const UndoLimit = 3 * time.Minute

// Action adapts a plain function to a step of the build. What the function owes
// is paid in reverse order when the build ends, whatever its end is.
type Action struct {
	// What names the step in errors.
	What string
	do   func(ctx context.Context, j *Job) error
	job  *Job
}

var _ multistep.Step = (*Action)(nil)

// Job is what an action's function works with.
type Job struct {
	State multistep.StateBag
	UI    packersdk.Ui

	debts []debt
}

type debt struct {
	what string
	pay  func(ctx context.Context) error
}

// Act makes a step of a function. what names it in errors: "mount the disk".
func Act(what string, do func(ctx context.Context, j *Job) error) *Action {
	return &Action{What: what, do: do}
}

// Owe registers the undo of what is about to be made or has just been made.
func (j *Job) Owe(what string, pay func(ctx context.Context) error) {
	j.debts = append(j.debts, debt{what, pay})
}

// InnerStepName names the step where Packer's runners speak of it.
func (a *Action) InnerStepName() string { return a.What }

// Run implements multistep.Step.
func (a *Action) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	ui, ok := state.Get("ui").(packersdk.Ui)
	if !ok {
		state.Put("error", fmt.Errorf("%s: no ui in the state", a.What))
		return multistep.ActionHalt
	}
	a.job = &Job{State: state, UI: ui}
	err := ctx.Err()
	if err == nil {
		err = a.do(ctx, a.job)
	}
	if err != nil {
		return halt(state, ui, a.What, err)
	}
	return multistep.ActionContinue
}

// Cleanup implements multistep.Step. It goes on past errors and prints what it
// could not undo.
func (a *Action) Cleanup(multistep.StateBag) {
	if a.job == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), UndoLimit)
	defer cancel()
	for i := len(a.job.debts) - 1; i >= 0; i-- {
		d := a.job.debts[i]
		if err := d.pay(ctx); err != nil {
			a.job.UI.Error(fmt.Sprintf("left behind: %s: %v", d.what, err))
		}
	}
	a.job.debts = nil
}
