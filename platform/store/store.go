// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package store keeps the platform's objects in SQL: in SQLite, one file, by
// default, or in PostgreSQL, where any number of replicas share one database.
// All queries live on Queries and use the SQL that both understand; what differs
// is in sqlite.go and postgres.go, and in the two directories of migrations.
//
// Nothing in here encrypts or decides: sealed values come in sealed, and rules
// live in package fleet.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrNotFound reports that a row does not exist.
var ErrNotFound = errors.New("not found")

// ErrText reports text that PostgreSQL cannot keep, so that neither database
// takes it.
var ErrText = errors.New("text must be valid UTF-8 without NUL bytes")

// querier is what *sql.DB, *sql.Conn and *sql.Tx share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Queries holds every statement. Those of a DB run each on their own; those
// handed to the function of InTx run in one transaction.
type Queries struct {
	q  querier
	db *DB
	// said holds what a transaction tells other processes once it is committed;
	// nil outside of one.
	said *[]notice
}

// DB is an open database.
type DB struct {
	Queries
	// Rehearse makes every transaction run twice, the first time rolled back, as
	// it happens after a conflict. Tests set it.
	Rehearse bool

	pool    *sql.DB
	dialect dialect
	// writers bounds the write transactions of this process that run at once.
	// SQLite has one writer, and waiting here is fairer than its busy loop.
	writers chan struct{}
	board   board
	count   counters
}

// dialect is what differs between the databases.
type dialect interface {
	name() string
	// rebind turns "?" into the database's own placeholders.
	rebind(query string) string
	// clock is an expression for the Unix milliseconds of now.
	clock() string
	// txOptions are those of a write transaction.
	txOptions() *sql.TxOptions
	// lock makes a transaction wait for those that it must not run beside, and
	// alone for others that have named the same thing.
	lock(ctx context.Context, q *Queries, server int64) error
	alone(ctx context.Context, q *Queries, what string) error
	// retry tells whether a transaction that failed may succeed when it runs
	// again, and up to how often it is worth a try.
	retry(err error, committing bool) (tries int)
	// notify sends a notice to other processes, once q is committed.
	notify(ctx context.Context, q *Queries, n notice) error
	// watch hands notices of other processes to the board until ctx ends.
	watch(ctx context.Context, db *DB)
	// migrate brings the schema to a version; 0 for the newest.
	migrate(ctx context.Context, db *DB, version int64) error
	// schema describes all tables, for backups.
	schema(ctx context.Context, q *Queries) ([]tableInfo, error)
	// sequences and setSequence read and write the highest id ever given.
	sequence(ctx context.Context, q *Queries, table string) (int64, error)
	setSequence(ctx context.Context, q *Queries, table string, last int64) error
}

// Open opens the database of that location, creating it when it is a SQLite
// file, and brings its schema up to date. A location is the path of a SQLite
// file, or a URL postgres://USER:PASSWORD@HOST/NAME.
func Open(ctx context.Context, location string) (*DB, error) {
	db, err := connect(ctx, location)
	if err != nil {
		return nil, err
	}
	if err := db.dialect.migrate(ctx, db, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Describe(location), err), db.Close())
	}
	return db, nil
}

// connect is Open without the schema.
func connect(ctx context.Context, location string) (*DB, error) {
	scheme, rest, isURL := strings.Cut(location, "://")
	switch {
	case !isURL:
		return connectSQLite(location)
	case scheme == "sqlite":
		return connectSQLite(rest)
	case isPostgres(scheme):
		return connectPostgres(ctx, location)
	}
	return nil, fmt.Errorf("database %s://…: want the path of a SQLite file, or postgres://USER@HOST/NAME", scheme)
}

func newDB(pool *sql.DB, d dialect, writers int) *DB {
	db := &DB{pool: pool, dialect: d, writers: make(chan struct{}, writers)}
	db.Queries = Queries{q: pool, db: db}
	return db
}

// Close closes the database.
func (db *DB) Close() error {
	db.board.close()
	return db.pool.Close()
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.row(ctx, `SELECT 1`).Scan(&one)
}

func (q *Queries) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := checkText(args); err != nil {
		return 0, err
	}
	res, err := q.q.ExecContext(ctx, q.db.dialect.rebind(query), args...)
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

func (q *Queries) row(ctx context.Context, query string, args ...any) scanner {
	if err := checkText(args); err != nil {
		return failed{err}
	}
	return q.q.QueryRowContext(ctx, q.db.dialect.rebind(query), args...)
}

// each calls scan for every row.
func (q *Queries) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	if err := checkText(args); err != nil {
		return err
	}
	rows, err := q.q.QueryContext(ctx, q.db.dialect.rebind(query), args...)
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

func checkText(args []any) error {
	for _, a := range args {
		if s, ok := a.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return ErrText
		}
	}
	return nil
}

// failed is the row of a query that was not sent.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

// listed reads every row with scan.
func listed[T any](ctx context.Context, q *Queries, scan func(scanner) (T, error), query string, args ...any) (list []T, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		v, err := scan(rows)
		list = append(list, v)
		return err
	}, query, args...)
	return list, err
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

// HasSealed tells whether the database holds anything that needs its key.
func (q *Queries) HasSealed(ctx context.Context) (bool, error) {
	var n int
	err := q.row(ctx, `SELECT (SELECT COUNT(*) FROM enrolment_tokens) + (SELECT COUNT(*) FROM credentials)`).Scan(&n)
	return n > 0, err
}
