// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Waits between the tries of a transaction that lost against another.
const (
	firstWait = 5 * time.Millisecond
	maxWait   = 500 * time.Millisecond
	// patience is how long a transaction waits for its turn: callers give up a
	// little later, and would ask again while their first question still waits.
	patience = 20 * time.Second
)

// ErrBusy reports that more is to be written than the database takes. Callers
// try again later.
var ErrBusy = errors.New("the database is busy; try again")

// counters are read by the metrics.
type counters struct{ transactions, retries, failures atomic.Int64 }

// Counts are how many write transactions were committed, were run again after
// a conflict, and failed.
type Counts struct{ Transactions, Retries, Failures int64 }

// Counts tells what has happened since the start.
func (db *DB) Counts() Counts {
	return Counts{db.count.transactions.Load(), db.count.retries.Load(), db.count.failures.Load()}
}

// all is the server of transactions that concern more than one.
const all int64 = 0

// InTx runs fn in one write transaction, as if no other ran at the same time,
// and commits if it returns nil. fn must not use the network, and must come to
// the same end when it runs again: a transaction that loses against another, or
// its connection, is rolled back and tried anew.
func (db *DB) InTx(ctx context.Context, fn func(*Queries) error) error {
	return db.inTx(ctx, all, fn)
}

// InTxOf is InTx for a transaction that reads and writes only what belongs to
// one server: its row, tokens, instances, events and audit. Others wait for it
// only if they are about the same server, or about all of them.
func (db *DB) InTxOf(ctx context.Context, server int64, fn func(*Queries) error) error {
	return db.inTx(ctx, server, fn)
}

// Alone makes a transaction of InTxOf wait until no other one that has named the
// same thing runs: for rules that look beyond one server.
func (q *Queries) Alone(ctx context.Context, what string) error {
	return q.db.dialect.alone(ctx, q, what)
}

func (db *DB) inTx(ctx context.Context, server int64, fn func(*Queries) error) error {
	if err := db.turn(ctx); err != nil {
		return err
	}
	defer func() { <-db.writers }()
	if db.Rehearse {
		if err := db.rehearse(ctx, fn); err != nil {
			return err
		}
	}
	wait := firstWait
	for try := 1; ; try++ {
		said, committing, err := db.try(ctx, server, fn)
		if err == nil {
			db.count.transactions.Add(1)
			for _, n := range said {
				db.board.deliver(n)
			}
			return nil
		}
		if try >= db.dialect.retry(err, committing) || ctx.Err() != nil {
			db.count.failures.Add(1)
			return err
		}
		db.count.retries.Add(1)
		select {
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // chance keeps the losers apart, it is no secret
		case <-ctx.Done():
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// turn waits until this transaction may write, in the order of arrival.
func (db *DB) turn(ctx context.Context) error {
	select {
	case db.writers <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case db.writers <- struct{}{}:
		return nil
	case <-timer.C:
		db.count.failures.Add(1)
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try runs fn once; committing tells that it was the commit that failed.
func (db *DB) try(ctx context.Context, server int64, fn func(*Queries) error) (said []notice, committing bool, err error) {
	tx, err := db.pool.BeginTx(ctx, db.dialect.txOptions())
	if err != nil {
		return nil, false, fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	q := &Queries{q: tx, db: db, said: &said}
	if err := db.dialect.lock(ctx, q, server); err != nil {
		return nil, false, fmt.Errorf("begin transaction: %w", err)
	}
	if err := fn(q); err != nil {
		return nil, false, err
	}
	if err := tx.Commit(); err != nil {
		return nil, true, fmt.Errorf("commit transaction: %w", err)
	}
	return said, false, nil
}

// rehearse runs fn without effect.
func (db *DB) rehearse(ctx context.Context, fn func(*Queries) error) error {
	tx, err := db.pool.BeginTx(ctx, db.dialect.txOptions())
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	var said []notice
	_ = fn(&Queries{q: tx, db: db, said: &said}) // it fails again, if it does
	return tx.Rollback()
}
