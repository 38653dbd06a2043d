// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database driver

	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
)

// dataVersionEvery is how soon this process sees what another has written into
// the same file. Asking costs some microseconds.
const dataVersionEvery = 250 * time.Millisecond

// sqlite is the embedded database.
type sqlite struct {
	dir string // of the file
}

// connectSQLite opens or creates the database file. Several processes may have
// it open; writers wait for each other.
func connectSQLite(path string) (*DB, error) {
	// The file holds token hashes and audit texts: private from birth.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_txlock=immediate" +
		"&_pragma=busy_timeout(15000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_pragma=synchronous(NORMAL)"
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(8)
	return newDB(pool, sqlite{dir: filepath.Dir(path)}, 1), nil
}

func (sqlite) name() string               { return "sqlite" }
func (sqlite) rebind(query string) string { return query }
func (sqlite) clock() string              { return `CAST(unixepoch('subsec') * 1000 AS INTEGER)` }
func (sqlite) txOptions() *sql.TxOptions  { return nil }
func (sqlite) retry(error, bool) int      { return 0 }

// There is one writer at a time, so that nothing else must be locked.
func (sqlite) lock(context.Context, *Queries, int64) error   { return nil }
func (sqlite) alone(context.Context, *Queries, string) error { return nil }

// migrate lets one process do it, since two that begin at once would both see
// what is missing.
func (l sqlite) migrate(ctx context.Context, db *DB, version int64) error {
	unlock, err := dirlock.Lock(l.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return migrate(ctx, db, "migrations/sqlite", version, goose.DialectSQLite3)
}

// notify does nothing: other processes see that the file has changed.
func (sqlite) notify(context.Context, *Queries, notice) error { return nil }

// watch asks SQLite whether another connection has committed something; what,
// the listeners must find out themselves.
func (sqlite) watch(ctx context.Context, db *DB) {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return // only when ctx has ended or the database is closed
	}
	defer func() { _ = conn.Close() }()
	ticker := time.NewTicker(dataVersionEvery)
	defer ticker.Stop()
	last := int64(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var version int64
		err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version)
		if errors.Is(err, context.Canceled) {
			return
		}
		if err != nil || version != last {
			db.board.missed()
		}
		last = version
	}
}

func (sqlite) schema(ctx context.Context, q *Queries) ([]tableInfo, error) {
	return readSchema(ctx, q,
		`SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
			WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`,
		`SELECT DISTINCT m.name, f."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'`,
		`SELECT m.name FROM sqlite_master m WHERE m.type = 'table' AND m.sql LIKE '%AUTOINCREMENT%'`)
}

func (sqlite) sequence(ctx context.Context, q *Queries, table string) (last int64, err error) {
	err = q.row(ctx, `SELECT seq FROM sqlite_sequence WHERE name = ?`, table).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return last, err
}

func (sqlite) setSequence(ctx context.Context, q *Queries, table string, last int64) error {
	_, err := q.exec(ctx, `DELETE FROM sqlite_sequence WHERE name = ?`, table)
	if err == nil {
		_, err = q.exec(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)`, table, last)
	}
	return err
}
