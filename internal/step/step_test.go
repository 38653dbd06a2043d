// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
)

func newState() multistep.StateBag {
	state := new(multistep.BasicStateBag)
	state.Put("ui", &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard})
	return state
}

func TestActionPaysItsDebtsInReverse(t *testing.T) {
	state := newState()
	var paid []string
	a := Act("make", func(_ context.Context, j *Job) error {
		for _, what := range []string{"first", "second", "third"} {
			j.Owe(what, func(ctx context.Context) error {
				paid = append(paid, what)
				if what == "second" {
					return errors.New("stuck")
				}
				return ctx.Err()
			})
		}
		return errors.New("no luck")
	})
	require.Equal(t, multistep.ActionHalt, a.Run(context.Background(), state))
	require.EqualError(t, state.Get("error").(error), "make: no luck")
	require.True(t, Failed(state))
	a.Cleanup(state)
	a.Cleanup(state)
	require.Equal(t, []string{"third", "second", "first"}, paid, "past errors, and once")

	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	b := Act("late", func(context.Context, *Job) error { t.Error("a cancelled build starts nothing"); return nil })
	require.Equal(t, multistep.ActionHalt, b.Run(canceled, state))
}

func TestKeys(t *testing.T) {
	state := newState()
	number := Key[int]("number")
	_, err := number.Get(state)
	require.ErrorContains(t, err, `"number" is missing`)
	state.Put("number", "seven")
	_, err = number.Get(state)
	require.ErrorContains(t, err, "wrong type string")
	number.Put(state, 7)
	v, err := number.Get(state)
	require.NoError(t, err)
	require.Equal(t, 7, v)
}

// No halt ends as success.
func TestOutcome(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		put  map[string]any
		want string
	}{
		"to its end":                  {context.Background(), nil, ""},
		"error":                       {context.Background(), map[string]any{"error": errors.New("e"), multistep.StateHalted: true}, "e"},
		"halted without an error":     {context.Background(), map[string]any{multistep.StateHalted: true}, "halted"},
		"cancelled":                   {context.Background(), map[string]any{multistep.StateCancelled: true}, "cancelled"},
		"cancelled after the last":    {canceled, nil, "cancelled"},
		"an error that is no error":   {context.Background(), map[string]any{"error": "text", multistep.StateHalted: true}, "halted"},
		"cancelled, and a real error": {canceled, map[string]any{"error": errors.New("e")}, "e"},
	} {
		t.Run(name, func(t *testing.T) {
			state := newState()
			for k, v := range tc.put {
				state.Put(k, v)
			}
			err := Outcome(tc.ctx, state)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

type hook struct {
	ran []string
	run func(ctx context.Context, name string) error
}

func (h *hook) Run(ctx context.Context, name string, _ packersdk.Ui, _ packersdk.Communicator, _ any) error {
	h.ran = append(h.ran, name)
	return h.run(ctx, name)
}

func TestProvision(t *testing.T) {
	for name, tc := range map[string]struct {
		errs map[string]error
		want string
		ran  []string
	}{
		"success":                {nil, "", []string{packersdk.HookProvision}},
		"failure":                {map[string]error{packersdk.HookProvision: errors.New("exit 1")}, "exit 1", []string{packersdk.HookProvision, packersdk.HookCleanupProvision}},
		"failure of the cleanup": {map[string]error{packersdk.HookProvision: errors.New("exit 1"), packersdk.HookCleanupProvision: errors.New("exit 2")}, "exit 1; the cleanup provisioner failed too: exit 2", []string{packersdk.HookProvision, packersdk.HookCleanupProvision}},
	} {
		t.Run(name, func(t *testing.T) {
			state := newState()
			h := &hook{run: func(_ context.Context, name string) error { return tc.errs[name] }}
			state.Put("hook", h)
			j := &Job{State: state, UI: state.Get("ui").(packersdk.Ui)}
			err := j.Provision(context.Background(), new(packersdk.MockCommunicator))
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.want)
			}
			require.Equal(t, tc.ran, h.ran)
		})
	}
}

func TestProvisionCancelled(t *testing.T) {
	state := newState()
	ctx, cancel := context.WithCancel(context.Background())
	h := &hook{run: func(ctx context.Context, _ string) error { cancel(); <-ctx.Done(); return ctx.Err() }}
	state.Put("hook", h)
	j := &Job{State: state, UI: state.Get("ui").(packersdk.Ui)}
	require.ErrorIs(t, j.Provision(ctx, nil), context.Canceled)
	require.Equal(t, []string{packersdk.HookProvision}, h.ran, "a cancelled build runs nothing more")
	err := waitFor(ctx, time.Millisecond, func() error { time.Sleep(50 * time.Millisecond); return nil })
	require.ErrorContains(t, err, "did not stop")
}

func TestRunning(t *testing.T) {
	var r Running
	r.Close()
	ctx, end := r.Begin(context.Background())
	go func() { <-ctx.Done(); end() }()
	r.Close()
	require.Error(t, ctx.Err())
	r.Close()
}
