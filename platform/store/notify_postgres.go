// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	channel = "rightscaled"
	// pollEvery is how often listeners look while LISTEN does not work.
	pollEvery = time.Second
	// listenAgain is when LISTEN is tried again after it has failed.
	listenAgain    = 2 * time.Second
	maxListenAgain = time.Minute
	// listenIdle is when a silent connection is asked whether it still lives.
	listenIdle = 20 * time.Second
)

func (p postgres) notify(ctx context.Context, q *Queries, n notice) error {
	_, err := q.exec(ctx, `SELECT pg_notify(?, ?)`, channel, p.self+" "+n.topic+" "+n.text)
	return err
}

// watch listens, and has the listeners poll while that does not work.
func (p postgres) watch(ctx context.Context, db *DB) {
	again := listenAgain
	for ctx.Err() == nil {
		if p.listen(ctx, db) {
			again = listenAgain
		}
		next := time.Now().Add(again)
		again = min(2*again, maxListenAgain)
		for ctx.Err() == nil && time.Now().Before(next) {
			db.board.missed()
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
		}
	}
}

// listen hands on notices until the connection ends; false when it did not even
// begin.
func (p postgres) listen(ctx context.Context, db *DB) (began bool) {
	conn, err := pgx.ConnectConfig(ctx, p.config.Copy())
	if err != nil {
		return false
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return false
	}
	db.board.missed() // what was said before
	for {
		idle, cancel := context.WithTimeout(ctx, listenIdle)
		n, err := conn.WaitForNotification(idle)
		cancel()
		switch {
		case err == nil:
			p.heard(db, n)
			continue
		case ctx.Err() != nil || !pgconn.Timeout(err):
			return true
		}
		check, cancel := context.WithTimeout(ctx, listenIdle)
		err = conn.Ping(check)
		cancel()
		if err != nil {
			return true
		}
		db.board.missed() // costs little, and covers proxies that drop LISTEN
	}
}

func (p postgres) heard(db *DB, n *pgconn.Notification) {
	parts := strings.SplitN(n.Payload, " ", 3)
	if len(parts) == 3 && parts[0] != p.self {
		db.board.deliver(notice{parts[1], parts[2]})
	}
}
