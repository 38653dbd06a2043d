// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wait_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// replies answers with the given values in turn, then with the last one.
func replies(values ...bool) (func(context.Context) (bool, error), *int) {
	calls := 0
	return func(context.Context) (bool, error) {
		calls++
		return values[min(calls, len(values))-1], nil
	}, &calls
}

func TestUntil(t *testing.T) {
	for name, tc := range map[string]struct {
		waiter  wait.Waiter
		replies []bool
		calls   int
		timeout bool
	}{
		"at once":                {wait.Waiter{}, []bool{true}, 1, false},
		"third poll":             {wait.Waiter{}, []bool{false, false, true}, 3, false},
		"attempts run out":       {wait.Waiter{Attempts: 3}, []bool{false}, 3, true},
		"deadline":               {wait.Waiter{Delay: 4 * time.Second, Deadline: 10 * time.Second}, []bool{false}, 3, true},
		"streak is broken":       {wait.Waiter{InARow: 2}, []bool{true, false, true, true}, 4, false},
		"streak and no attempts": {wait.Waiter{InARow: 2, Attempts: 3}, []bool{true, false, true}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &wait.Fake{}
			tc.waiter.Clock = clock
			done, calls := replies(tc.replies...)
			err := tc.waiter.Until(t.Context(), "a snapshot", done)
			require.Equal(t, tc.calls, *calls)
			require.Len(t, clock.Slept(), tc.calls-1)
			var timeout *wait.TimeoutError
			require.Equal(t, tc.timeout, errors.As(err, &timeout), "%v", err)
		})
	}
}

func TestUntilUsesTheDelayGiven(t *testing.T) {
	clock := &wait.Fake{}
	done, _ := replies(false, false, true)
	require.NoError(t, wait.Waiter{Delay: 7 * time.Second, Clock: clock}.Until(t.Context(), "x", done))
	require.Equal(t, []time.Duration{7 * time.Second, 7 * time.Second}, clock.Slept())
}

func TestUntilStops(t *testing.T) {
	broken := errors.New("broken")
	err := wait.Waiter{}.Until(t.Context(), "x", func(context.Context) (bool, error) { return false, broken })
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(t.Context())
	err = wait.Waiter{Delay: time.Hour}.Until(ctx, "x", func(context.Context) (bool, error) { cancel(); return false, nil })
	require.ErrorIs(t, err, context.Canceled)
}
