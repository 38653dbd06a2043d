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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// Transactions that read before they write come out as if one ran after the
// other, within a process and between two.
func TestTransactionsAreSerial(t *testing.T) {
	for _, how := range isolations() {
		for _, server := range []int64{all, 7} {
			t.Run(how+strconv.FormatInt(server, 10), func(t *testing.T) { testSerial(t, how, server) })
		}
	}
}

// isolations are what a location may say of how transactions are kept apart.
func isolations() []string {
	if storetest.Kind() == storetest.SQLite {
		return []string{""}
	}
	return []string{"", "&isolation=serializable"}
}

func testSerial(t *testing.T, how string, server int64) {
	ctx := context.Background()
	location := storetest.URL(t) + how
	a, b := openAt(t, location), openAt(t, location)
	var runs atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 40 {
		db := []*DB{a, b}[i%2]
		wg.Go(func() {
			errs <- db.inTx(ctx, server, func(q *Queries) error {
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
// both succeed on what they have read; those about one server name what else
// they are about.
func TestWriteSkew(t *testing.T) {
	for _, how := range isolations() {
		t.Run("all"+how, func(t *testing.T) { testWriteSkew(t, how, all, all) })
		t.Run("one"+how, func(t *testing.T) { testWriteSkew(t, how, 1, 2) })
		t.Run("mixed"+how, func(t *testing.T) { testWriteSkew(t, how, all, 2) })
	}
}

func testWriteSkew(t *testing.T, how string, one, two int64) {
	ctx := context.Background()
	location := storetest.URL(t) + how
	db, other := openAt(t, location), openAt(t, location)
	claim := func(db *DB, server int64, mine, theirs string) error {
		return db.inTx(ctx, server, func(q *Queries) error {
			if err := q.Alone(ctx, "the only one"); err != nil {
				return err
			}
			taken, err := q.Setting(ctx, theirs)
			if err != nil || taken != "" {
				return err
			}
			time.Sleep(10 * time.Millisecond)
			return q.SetSetting(ctx, mine, "taken")
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { assert.NoError(t, claim(db, one, "left", "right")) })
	wg.Go(func() { assert.NoError(t, claim(other, two, "right", "left")) })
	wg.Wait()
	left, err := db.Setting(ctx, "left")
	require.NoError(t, err)
	right, err := db.Setting(ctx, "right")
	require.NoError(t, err)
	require.Equal(t, "taken", left+right)
}

// Transactions about different servers run side by side, and one about all
// waits for them.
func TestServersDoNotWaitForEachOther(t *testing.T) {
	if storetest.Kind() == storetest.SQLite {
		t.Skip("SQLite has one writer")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	db, _ := open(t)
	inside, leave, after := make(chan int64), make(chan struct{}), make(chan error, 1)
	var wg sync.WaitGroup
	for _, server := range []int64{1, 2} {
		wg.Go(func() {
			assert.NoError(t, db.InTxOf(ctx, server, func(*Queries) error {
				inside <- server
				<-leave
				return nil
			}))
		})
	}
	require.Equal(t, int64(3), <-inside+<-inside, "both are in")
	go func() { after <- db.InTx(ctx, func(*Queries) error { return nil }) }()
	select {
	case <-after:
		t.Fatal("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	close(leave)
	wg.Wait()
	require.NoError(t, <-after)
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
