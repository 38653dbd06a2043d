// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Transactions that read before they write come out as if one ran after the
// other, within a process and between two.
func TestTransactionsAreSerial(t *testing.T) {
	ctx := context.Background()
	a, location := open(t)
	b := openAt(t, location)
	var runs atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 40 {
		db := []*DB{a, b}[i%2]
		wg.Go(func() {
			errs <- db.InTx(ctx, func(q *Queries) error {
				runs.Add(1)
				text, err := q.Setting(ctx, "n")
				if err != nil {
					return err
				}
				n, _ := strconv.Atoi(text)
				return q.SetSetting(ctx, "n", strconv.Itoa(n+1))
			})
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	text, err := a.Setting(ctx, "n")
	require.NoError(t, err)
	require.Equal(t, "40", text)
	counts := a.Counts()
	counts.Transactions += b.Counts().Transactions
	counts.Retries += b.Counts().Retries
	require.Equal(t, int64(40), counts.Transactions)
	require.Equal(t, runs.Load(), counts.Transactions+counts.Retries)
}

// Two transactions that each read what the other writes (write skew) must not
// both succeed on what they have read.
func TestWriteSkew(t *testing.T) {
	ctx := context.Background()
	db, location := open(t)
	other := openAt(t, location)
	claim := func(db *DB, mine, theirs string) error {
		return db.InTx(ctx, func(q *Queries) error {
			taken, err := q.Setting(ctx, theirs)
			if err != nil || taken != "" {
				return err
			}
			time.Sleep(10 * time.Millisecond)
			return q.SetSetting(ctx, mine, "taken")
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, claim(db, "left", "right")) })
	wg.Go(func() { require.NoError(t, claim(other, "right", "left")) })
	wg.Wait()
	left, err := db.Setting(ctx, "left")
	require.NoError(t, err)
	right, err := db.Setting(ctx, "right")
	require.NoError(t, err)
	require.Equal(t, "taken", left+right)
}

func TestRehearsal(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	db.Rehearse = true
	runs := 0
	require.NoError(t, db.InTx(ctx, func(q *Queries) error {
		runs++
		text, err := q.Setting(ctx, "n")
		require.Empty(t, text, "the rehearsal has left nothing")
		if err != nil {
			return err
		}
		return q.SetSetting(ctx, "n", "x")
	}))
	require.Equal(t, 2, runs)
}
