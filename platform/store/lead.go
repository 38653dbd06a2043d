// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// ErrLeaseLost reports that another replica leads now.
var ErrLeaseLost = errors.New("another replica leads now")

// Lease is the leadership of a name for one term.
type Lease struct {
	Name string
	// Term grows with every change of the leader.
	Term   int64
	holder string
}

// Lead has work done by one replica at a time. It waits until this process
// leads the name, then calls work, whose context ends with
// context.Cause ErrLeaseLost when the lease is lost: when the database could
// not be asked for so long that another replica may have taken over. Then it
// waits for its turn again. Lead returns when ctx ends, or what work returns
// while it leads. A leader that dies is followed within ttl.
func (db *DB) Lead(ctx context.Context, name string, ttl time.Duration, work func(context.Context, Lease) error) error {
	holder := uuid.NewString()
	for {
		begin := time.Now()
		lease, err := db.takeLease(ctx, name, holder, ttl)
		if err == nil {
			if err := db.hold(ctx, lease, begin.Add(ttl), ttl, work); !errors.Is(err, ErrLeaseLost) {
				return err
			}
		}
		select { // a database that does not answer now is asked again too
		case <-time.After(ttl/6 + rand.N(ttl/6+1)): //nolint:gosec // chance keeps the candidates apart, it is no secret
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// takeLease makes this process the leader unless another one is.
func (db *DB) takeLease(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error) {
	l := Lease{Name: name, holder: holder}
	now := db.dialect.clock() // all replicas go by the clock of the database
	err := db.row(ctx, `INSERT INTO leases (name, holder, term, expires_at) VALUES (?, ?, 1, `+now+` + ?)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = leases.term + 1, expires_at = excluded.expires_at
		WHERE leases.expires_at <= `+now+` RETURNING term`, name, holder, ttl.Milliseconds()).Scan(&l.Term)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrLeaseLost
	}
	return l, err
}

// hold does the work and renews the lease, which is ours until the local time
// valid.
func (db *DB) hold(ctx context.Context, l Lease, valid time.Time, ttl time.Duration, work func(context.Context, Lease) error) error {
	leading, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	done := make(chan error, 1)
	go func() { done <- work(leading, l) }()
	ticker := time.NewTicker(ttl / 3)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			db.dropLease(ctx, l)
			return err
		case <-ticker.C:
		}
		begin := time.Now()
		renewed, err := db.renewLease(ctx, l, ttl)
		if err == nil && renewed {
			valid = begin.Add(ttl)
			continue
		}
		if (err == nil || time.Until(valid) < ttl/3) && ctx.Err() == nil {
			lose(ErrLeaseLost)
			<-done //nolint:errcheck // it was told why
			return ErrLeaseLost
		}
	}
}

func (db *DB) renewLease(ctx context.Context, l Lease, ttl time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, ttl/3)
	defer cancel()
	n, err := db.exec(ctx, `UPDATE leases SET expires_at = `+db.dialect.clock()+` + ? WHERE name = ? AND term = ? AND holder = ?`,
		ttl.Milliseconds(), l.Name, l.Term, l.holder)
	return n == 1, err
}

// dropLease lets the next one in at once.
func (db *DB) dropLease(ctx context.Context, l Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// If it fails, the lease runs out.
	_, _ = db.exec(ctx, `UPDATE leases SET expires_at = 0 WHERE name = ? AND term = ? AND holder = ?`, l.Name, l.Term, l.holder)
}

// Fence lets a transaction through only while its lease is the newest: a leader
// that was stopped for a while and does not know that it was replaced cannot
// write any more. No other replica takes over before the transaction ends.
func (q *Queries) Fence(ctx context.Context, l Lease) error {
	n, err := q.exec(ctx, `UPDATE leases SET term = term WHERE name = ? AND term = ? AND holder = ?`, l.Name, l.Term, l.holder)
	if err == nil && n != 1 {
		err = fmt.Errorf("%s, term %d: %w", l.Name, l.Term, ErrLeaseLost)
	}
	return err
}
