// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

const (
	// defaultConns keeps several replicas within PostgreSQL's default of 100.
	defaultConns = 16
	// conflictTries bounds how often a transaction runs that loses against others.
	conflictTries = 12
	// lostTries bounds it when the connection ends, such as at a fail-over.
	lostTries = 4
	// uniqueTries: a row that another transaction has just written can make a unique
	// index complain before the conflict is seen; at the next try it is visible.
	uniqueTries = 3
)

// postgres is a shared database. Databases that speak its protocol serve as
// well, with or without LISTEN.
type postgres struct {
	config *pgx.ConnConfig
	// self marks what this process says, which it need not hear again.
	self string
	// serializable leaves it to the database to keep transactions apart, instead
	// of locks.
	serializable bool
}

func isPostgres(scheme string) bool { return scheme == "postgres" || scheme == "postgresql" }

// Describe names a location without its password.
func Describe(location string) string {
	scheme, _, isURL := strings.Cut(location, "://")
	if !isURL || !isPostgres(scheme) {
		return strings.TrimPrefix(location, "sqlite://")
	}
	u, err := url.Parse(location)
	if err != nil {
		return scheme + "://…"
	}
	host := u.Host
	if host == "" {
		host = u.Query().Get("host")
	}
	return fmt.Sprintf("%s on %s", strings.TrimPrefix(u.Path, "/"), host)
}

func connectPostgres(ctx context.Context, location string) (*DB, error) {
	cfg, err := pgx.ParseConfig(location)
	if err != nil {
		// The error of the parser hides the password.
		return nil, fmt.Errorf("database: %w; want postgres://USER:PASSWORD@HOST:5432/NAME", err)
	}
	conns := defaultConns
	if text, ok := cfg.RuntimeParams["pool_max_conns"]; ok {
		if conns, err = strconv.Atoi(text); err != nil || conns < 4 {
			return nil, fmt.Errorf("database: pool_max_conns=%s: want a number of at least 4", text)
		}
		delete(cfg.RuntimeParams, "pool_max_conns")
	}
	isolation := cfg.RuntimeParams["isolation"]
	delete(cfg.RuntimeParams, "isolation")
	if isolation != "" && isolation != "locks" && isolation != "serializable" {
		return nil, fmt.Errorf("database: isolation=%s: want locks or serializable", isolation)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "rightscaled"
	}
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(tune))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(10 * time.Minute)
	pool.SetConnMaxLifetime(2 * time.Hour)
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Describe(location), err), pool.Close())
	}
	p := postgres{config: cfg, self: uuid.NewString(), serializable: isolation == "serializable"}
	if isolation == "" {
		var version string
		if err := pool.QueryRowContext(ctx, `SELECT version()`).Scan(&version); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: %w", Describe(location), err), pool.Close())
		}
		// Others have no such locks, or locks without effect.
		p.serializable = !strings.HasPrefix(version, "PostgreSQL ") || strings.Contains(version, "-YB-")
	}
	// Reads must find a connection also while all writers wait.
	return newDB(pool, p, max(2, conns*3/4)), nil
}

// tune prepares a connection. What a database does not know, it does without.
func tune(ctx context.Context, conn *pgx.Conn) error {
	// A replica that hangs must not hold locks for ever.
	_, err := conn.Exec(ctx, `SET idle_in_transaction_session_timeout = '60s'`)
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

func (postgres) name() string { return "postgres" }

// rebind numbers the placeholders.
func (postgres) rebind(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	n, quoted := 0, false
	for i := range len(query) {
		switch c := query[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (postgres) clock() string {
	return `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`
}

// txOptions: rules read before they write, and what they have read must still
// hold when they commit. Locks see to that, or the database. The latter costs
// dearly where many write at the right edge of the same indexes, as agents do.
func (p postgres) txOptions() *sql.TxOptions {
	if p.serializable {
		return &sql.TxOptions{Isolation: sql.LevelSerializable}
	}
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

// lockSpace and thingSpace keep our advisory locks apart from each other, and
// from those of other programs in the same database.
const (
	lockSpace  = 0x52696768
	thingSpace = 0x52696769
)

// lock lets one transaction about all servers in at a time, or those about
// single ones, each server once.
func (p postgres) lock(ctx context.Context, q *Queries, server int64) error {
	switch {
	case p.serializable:
		return nil
	case server == all:
		_, err := q.exec(ctx, `SELECT pg_advisory_xact_lock(?, 0)`, lockSpace)
		return err
	}
	// 0 is all servers; that two servers share a number is no harm.
	_, err := q.exec(ctx, `SELECT pg_advisory_xact_lock_shared(?, 0), pg_advisory_xact_lock(?, ?)`, lockSpace, lockSpace, 1+server%math.MaxInt32)
	return err
}

func (p postgres) alone(ctx context.Context, q *Queries, what string) error {
	if p.serializable {
		return nil
	}
	_, err := q.exec(ctx, `SELECT pg_advisory_xact_lock(?, hashtext(?))`, thingSpace, what)
	return err
}

func (postgres) retry(err error, committing bool) int {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "40001", pg.Code == "40P01", pg.Code == "25P02":
			// serialization failure, deadlock, a transaction that ended before
			return conflictTries
		case pg.Code == "23505":
			return uniqueTries
		case !committing && (strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P")):
			return lostTries // connection trouble, shutdown
		}
		return 0
	}
	var network net.Error
	if !committing && (errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)) {
		return lostTries // what was not committed has not happened
	}
	return 0
}

func (postgres) migrate(ctx context.Context, db *DB, version int64) error {
	// Replicas that start at once take turns.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	return migrate(ctx, db, "migrations/postgres", version, goose.DialectPostgres, goose.WithSessionLocker(locker))
}

func (postgres) schema(ctx context.Context, q *Queries) ([]tableInfo, error) {
	return readSchema(ctx, q,
		`SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t
			ON t.table_schema = c.table_schema AND t.table_name = c.table_name
			WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position`,
		`SELECT DISTINCT f.table_name, t.table_name FROM information_schema.referential_constraints r
			JOIN information_schema.table_constraints f ON f.constraint_schema = r.constraint_schema AND f.constraint_name = r.constraint_name
			JOIN information_schema.table_constraints t ON t.constraint_schema = r.unique_constraint_schema AND t.constraint_name = r.unique_constraint_name
			WHERE r.constraint_schema = current_schema()`,
		`SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'id' AND is_identity = 'YES'`)
}

func (postgres) sequence(ctx context.Context, q *Queries, table string) (last int64, err error) {
	// A sequence that was never used is empty, but may begin late.
	err = q.row(ctx, `SELECT COALESCE(s.last_value, s.start_value - 1) FROM pg_sequences s
		WHERE quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename) = pg_get_serial_sequence(?, 'id')`, table).Scan(&last)
	return last, err
}

func (postgres) setSequence(ctx context.Context, q *Queries, table string, last int64) error {
	var done int64
	return q.row(ctx, `SELECT setval(pg_get_serial_sequence(?, 'id'), ?, ?)`, table, max(last, 1), last > 0).Scan(&done)
}
