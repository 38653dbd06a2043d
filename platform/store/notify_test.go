// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// ear remembers what it has heard.
type ear struct {
	mu    sync.Mutex
	texts []string
}

func (e *ear) heard(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.texts = append(e.texts, text)
}

func (e *ear) has(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.texts, text)
}

func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.texts = nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, 5*time.Millisecond, what)
}

// A notice reaches listeners of this process at once when its transaction is
// committed, and those of another one as well: by its text, or, with SQLite, by
// the advice to look.
func TestNotify(t *testing.T) {
	ctx := context.Background()
	db, location := open(t)
	other := openAt(t, location)
	var here, there, elsewhere ear
	stop := db.Listen("work", here.heard)
	other.Listen("work", there.heard)
	other.Listen("rest", elsewhere.heard)
	eventually(t, "the listeners are told to look at the start", func() bool { return here.has("") && there.has("") })
	time.Sleep(2 * dataVersionEvery)
	there.forget()

	require.NoError(t, db.InTx(ctx, func(q *Queries) error {
		require.NoError(t, q.SetSetting(ctx, "a", "1"))
		require.NoError(t, q.Notify(ctx, "work", "one two"))
		require.False(t, here.has("one two"), "not before the commit")
		return nil
	}))
	require.True(t, here.has("one two"))
	theirs := "one two"
	if storetest.Kind() == storetest.SQLite {
		theirs = ""
	}
	eventually(t, "the other process hears of it", func() bool { return there.has(theirs) })
	require.False(t, elsewhere.has("one two"), "another topic")

	boom := errors.New("boom")
	require.ErrorIs(t, db.InTx(ctx, func(q *Queries) error {
		require.NoError(t, q.Notify(ctx, "work", "never"))
		return boom
	}), boom)
	stop()
	require.NoError(t, db.Notify(ctx, "work", "later"))
	if storetest.Kind() == storetest.PostgreSQL {
		eventually(t, "outside of a transaction", func() bool { return there.has("later") })
		require.False(t, there.has("never"))
	}
	require.False(t, here.has("never"))
	require.False(t, here.has("later"), "it has stopped")
}

// A listener whose connection ends is told to look, and hears again.
func TestListenerConnectsAgain(t *testing.T) {
	if storetest.Kind() != storetest.PostgreSQL {
		t.Skip("SQLite has no connection")
	}
	ctx := context.Background()
	db, location := open(t)
	other := openAt(t, location)
	var there ear
	other.Listen("work", there.heard)
	eventually(t, "it listens", func() bool {
		require.NoError(t, db.Notify(ctx, "work", "first"))
		return there.has("first")
	})
	there.forget()
	var ended bool
	require.NoError(t, db.row(ctx, `SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'`).Scan(&ended))
	require.True(t, ended)
	eventually(t, "it polls meanwhile", func() bool { return there.has("") })
	eventually(t, "it listens again", func() bool {
		require.NoError(t, db.Notify(ctx, "work", "second"))
		return there.has("second")
	})
}
