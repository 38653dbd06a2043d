// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Of several replicas one works at a time, each term is a new one, and the next
// takes over when the leader ends.
func TestLead(t *testing.T) {
	db, location := open(t)
	dbs := []*DB{db, openAt(t, location), openAt(t, location)}
	var working, leaders atomic.Int64
	var mu sync.Mutex
	var terms []int64
	var wg sync.WaitGroup
	for _, db := range dbs {
		ctx, cancel := context.WithCancel(context.Background())
		wg.Go(func() {
			err := db.Lead(ctx, "work", time.Second, func(ctx context.Context, l Lease) error {
				leaders.Add(1)
				require.Equal(t, int64(1), working.Add(1), "one at a time")
				mu.Lock()
				terms = append(terms, l.Term)
				mu.Unlock()
				time.AfterFunc(100*time.Millisecond, cancel)
				<-ctx.Done()
				working.Add(-1)
				return ctx.Err()
			})
			require.ErrorIs(t, err, context.Canceled)
		})
	}
	wg.Wait()
	require.Equal(t, int64(3), leaders.Load())
	require.Equal(t, []int64{1, 2, 3}, terms)

	// The work's own error ends it.
	boom := errors.New("boom")
	require.ErrorIs(t, db.Lead(context.Background(), "work", time.Second, func(context.Context, Lease) error { return boom }), boom)
}

// A leader that was frozen beyond its lease learns that it was replaced, and can
// write no more.
func TestFence(t *testing.T) {
	ctx := context.Background()
	db, location := open(t)
	other := openAt(t, location)
	lease, err := db.takeLease(ctx, "work", "one", 50*time.Millisecond)
	require.NoError(t, err)
	write := func(db *DB, l Lease, value string) error {
		return db.InTx(ctx, func(q *Queries) error {
			if err := q.Fence(ctx, l); err != nil {
				return err
			}
			return q.SetSetting(ctx, "by", value)
		})
	}
	require.NoError(t, write(db, lease, "one"))
	_, err = other.takeLease(ctx, "work", "two", time.Minute)
	require.ErrorIs(t, err, ErrLeaseLost, "it is not free yet")
	time.Sleep(60 * time.Millisecond)
	newer, err := other.takeLease(ctx, "work", "two", time.Minute)
	require.NoError(t, err)
	require.Equal(t, lease.Term+1, newer.Term)
	require.ErrorIs(t, write(db, lease, "late"), ErrLeaseLost)
	renewed, err := db.renewLease(ctx, lease, time.Minute)
	require.NoError(t, err)
	require.False(t, renewed)
	require.NoError(t, write(other, newer, "two"))
	by, err := db.Setting(ctx, "by")
	require.NoError(t, err)
	require.Equal(t, "two", by)

	// Work is told when its lease is gone.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = db.Lead(ctx, "stolen", 300*time.Millisecond, func(work context.Context, l Lease) error {
		if l.Term > 1 {
			return nil // after the thief
		}
		_, err := other.exec(ctx, `UPDATE leases SET holder = 'thief', term = term + 1, expires_at = 0 WHERE name = 'stolen'`)
		require.NoError(t, err)
		<-work.Done()
		require.ErrorIs(t, context.Cause(work), ErrLeaseLost)
		return work.Err()
	})
	require.NoError(t, err)
}
