// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// undoing records its name, and fails as often as told.
func undoing(log *[]string, name string, failures int, err error) func(context.Context) error {
	return func(context.Context) error {
		*log = append(*log, name)
		if failures--; failures >= 0 {
			return err
		}
		return nil
	}
}

func TestSettleInReverse(t *testing.T) {
	var l ledger.Ledger
	var log []string
	l.Owe("a", "", undoing(&log, "a", 0, nil))
	b := l.Owe("b", "", undoing(&log, "b", 0, nil))
	l.Owe("c", "", undoing(&log, "c", 0, nil))
	l.Forgive(b)
	require.NoError(t, l.Settle(t.Context(), time.Minute))
	require.Equal(t, []string{"c", "a"}, log)
	require.NoError(t, l.Settle(t.Context(), time.Minute), "settling twice undoes once")
	require.Len(t, log, 2)
}

func TestSettleGoesOnAndRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		var log []string
		l.Owe("snapshot", "", undoing(&log, "snapshot", 2, errors.New("in use")))
		l.Owe("image", "", undoing(&log, "image", 1, errors.New("no route")))
		require.NoError(t, l.Settle(t.Context(), time.Minute))
		require.Equal(t, []string{"image", "snapshot", "image", "snapshot", "snapshot"}, log)
	})
}

func TestSettleAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var l ledger.Ledger
	l.Owe("a", "", func(ctx context.Context) error { return ctx.Err() })
	require.NoError(t, l.Settle(ctx, time.Minute))
}

func TestSettleListsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		refused := errors.New("connection refused")
		l.Owe("snapshot snap-1 in us-east-1", "aws ec2 delete-snapshot --snapshot-id snap-1",
			func(context.Context) error { return refused })
		l.Owe("image ami-1 in us-east-1", "aws ec2 deregister-image --image-id ami-1",
			func(context.Context) error { return refused })
		start := time.Now()
		err := l.Settle(t.Context(), 20*time.Second)
		require.LessOrEqual(t, time.Since(start), 20*time.Second)
		require.GreaterOrEqual(t, time.Since(start), 18*time.Second, "the time is used up")
		var left *ledger.LeftoverError
		require.ErrorAs(t, err, &left)
		require.Len(t, left.Debts, 2)
		require.ErrorIs(t, err, refused)
		require.EqualError(t, err, `left behind, remove by hand:
  image ami-1 in us-east-1 (connection refused)
    aws ec2 deregister-image --image-id ami-1
  snapshot snap-1 in us-east-1 (connection refused)
    aws ec2 delete-snapshot --snapshot-id snap-1`)
	})
}

func TestSettleDoesNotRepeatThePermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		var log []string
		l.Owe("a", "", undoing(&log, "a", 9, ledger.Permanent(errors.New("denied"))))
		start := time.Now()
		require.Error(t, l.Settle(t.Context(), time.Hour))
		require.Zero(t, time.Since(start))
		require.Equal(t, []string{"a"}, log)
	})
}

func TestSettleWhereOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		done := false
		l.Owe("quick", "", func(context.Context) error { done = true; return nil })
		l.Owe("hangs", "", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		require.ErrorContains(t, l.Settle(t.Context(), 10*time.Second), "hangs")
		require.True(t, done, "one that hangs does not keep the others from their turn")
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
	})
}

func TestConcurrentUse(t *testing.T) {
	var l ledger.Ledger
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := l.Owe(fmt.Sprint(i), "", func(context.Context) error { return nil })
			if i%2 == 0 {
				l.Forgive(d)
			}
		})
	}
	wg.Wait()
	require.Len(t, l.Open(), 10)
	l.ForgiveAll()
	require.Empty(t, l.Open())
}
