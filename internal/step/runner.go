// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Run runs the steps in the way that Packer's command line asks for: with
// -debug it pauses before each, and -on-error says what becomes of what a
// failed build has made.
//
// The SDK has a runner of its own, in a package that links the clients of three
// clouds for its downloads. That one also forgets what a step owes when the step
// is tried again, and calls every step by the name of its type.
func Run(ctx context.Context, steps []multistep.Step, c common.PackerConfig, ui packersdk.Ui, state multistep.StateBag) {
	switch c.PackerOnError {
	case "abort", "run-cleanup-provisioner": // the provisioner has run by then
		state.Put(keepOnFailure, true)
		steps = wrap(steps, ui, false)
	case "ask":
		steps = wrap(steps, ui, true)
	}
	if c.PackerDebug {
		(&multistep.DebugRunner{Steps: steps, PauseFn: pauses(ui)}).Run(ctx, state)
		return
	}
	(&multistep.BasicRunner{Steps: steps}).Run(ctx, state)
}

// keepOnFailure is set in the state when a failed build undoes nothing.
const keepOnFailure = "keep_on_failure"

// onError is a step of a build that does not simply undo everything.
type onError struct {
	multistep.Step

	ui  packersdk.Ui
	ask bool
}

func wrap(steps []multistep.Step, ui packersdk.Ui, ask bool) []multistep.Step {
	out := make([]multistep.Step, len(steps))
	for i, s := range steps {
		out[i] = onError{s, ui, ask}
	}
	return out
}

// InnerStepName names the step for the debug runner.
func (o onError) InnerStepName() string { return nameOf(o.Step) }

// Run runs the step, and again as often as somebody says so.
func (o onError) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	for {
		action := o.Step.Run(ctx, state)
		if action != multistep.ActionHalt || !o.ask || ctx.Err() != nil {
			return action
		}
		switch answer(ctx, o.ui, fmt.Sprintf("%q failed. [c] undo everything and end, [a] end and keep everything, [r] try it again:", nameOf(o.Step))) {
		case 'a':
			state.Put(keepOnFailure, true)
			return action
		case 'r':
			o.Step.Cleanup(state) // what the failed try has made
			state.Remove("error")
		default:
			return action
		}
	}
}

// Cleanup undoes the step unless the build has failed and everything is to stay.
func (o onError) Cleanup(state multistep.StateBag) {
	if _, keep := state.GetOk(keepOnFailure); keep && Failed(state) {
		o.ui.Error(fmt.Sprintf("not undone, as -on-error asks: %s", nameOf(o.Step)))
		return
	}
	o.Step.Cleanup(state)
}

// answer is the first letter of the answer to a question; 0 when there is none,
// or when the build is cancelled.
func answer(ctx context.Context, ui packersdk.Ui, question string) byte {
	line := make(chan string, 1)
	go func() {
		text, err := ui.Ask(question)
		if err != nil {
			log.Printf("[WARN] no answer to %q: %v", question, err)
		}
		line <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case text := <-line:
		if text != "" {
			return text[0]
		}
	case <-ctx.Done():
	}
	return 0
}

// pauses waits for a key at each step, or for the end of the build.
func pauses(ui packersdk.Ui) multistep.DebugPauseFn {
	return func(at multistep.DebugLocation, name string, state multistep.StateBag) {
		when := "after"
		if at == multistep.DebugLocationBeforeCleanup {
			when = "before the undo of"
		}
		ctx, end := context.WithCancel(context.Background())
		defer end()
		go func() {
			for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				if _, cancelled := state.GetOk(multistep.StateCancelled); cancelled {
					end()
				}
			}
		}()
		answer(ctx, ui, fmt.Sprintf("paused %s %q; press Enter to go on", when, name))
	}
}

// nameOf is what a step is called in messages.
func nameOf(s multistep.Step) string {
	if named, ok := s.(multistep.StepWrapper); ok {
		return named.InnerStepName()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", s), "*")
}
