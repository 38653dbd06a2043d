// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package store keeps the platform's objects in SQL. SQLite in one file is the
// embedded default; all queries live on Queries and use the SQL that
// PostgreSQL shares, so that another database is another Open and another
// directory of migrations.
//
// Nothing in here encrypts or decides: sealed values come in sealed, and rules
// live in package fleet.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound reports that a row does not exist.
var ErrNotFound = errors.New("not found")

// querier is what *sql.DB and *sql.Tx share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Queries holds every statement. Those of a DB run each on their own; those
// handed to the function of InTx run in one transaction.
type Queries struct {
	q querier
	// rebind turns "?" into the database's own placeholders.
	rebind func(string) string
}

// DB is an open database.
type DB struct {
	Queries
	pool *sql.DB
	// writer lets one write transaction of this process in at a time, since
	// SQLite has one writer and waiting here is fairer than its busy loop.
	writer chan struct{}
}

// Close closes the database.
func (db *DB) Close() error { return db.pool.Close() }

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.pool.PingContext(ctx) }

// InTx runs fn in one write transaction and commits if it returns nil. fn must
// not use the network.
func (db *DB) InTx(ctx context.Context, fn func(*Queries) error) error {
	select {
	case db.writer <- struct{}{}:
		defer func() { <-db.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	tx, err := db.pool.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	if err := fn(&Queries{q: tx, rebind: db.rebind}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

func (q *Queries) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := q.q.ExecContext(ctx, q.rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insert runs an INSERT … RETURNING id.
func (q *Queries) insert(ctx context.Context, query string, args ...any) (id int64, err error) {
	err = q.row(ctx, query, args...).Scan(&id)
	return id, err
}

func (q *Queries) row(ctx context.Context, query string, args ...any) *sql.Row {
	return q.q.QueryRowContext(ctx, q.rebind(query), args...)
}

// each calls scan for every row.
func (q *Queries) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.q.QueryContext(ctx, q.rebind(query), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scanner is what *sql.Row and *sql.Rows share.
type scanner interface{ Scan(dest ...any) error }

// one adds the name of the missing thing to sql.ErrNoRows.
func one(what string, key any, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %v: %w", what, key, ErrNotFound)
	}
	return err
}

// millis and fromMillis convert times; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// stamp scans a time column.
type stamp struct{ t *time.Time }

func (s stamp) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("want a time as integer, got %T", v)
	}
	*s.t = time.Time{}
	if n != 0 {
		*s.t = time.UnixMilli(n).UTC()
	}
	return nil
}

// Setting reads a setting; "" when it was never written.
func (q *Queries) Setting(ctx context.Context, name string) (value string, err error) {
	err = q.row(ctx, `SELECT value FROM settings WHERE name = ?`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// SetSetting writes a setting.
func (q *Queries) SetSetting(ctx context.Context, name, value string) error {
	_, err := q.exec(ctx, `INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}
