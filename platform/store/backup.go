// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bufio"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A backup is gzip of JSON lines: a header, then for each table a line with its
// columns and a line per row, then where counting goes on, and at last how many
// rows there were, which shows that nothing was cut off. It fits every database.

const (
	backupFormat  = "rightscaled backup"
	backupVersion = 1
)

type backupHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Schema  int64     `json:"schema"` // the newest migration
	MadeAt  time.Time `json:"made_at"`
}

// backupLine is any line but the header and the rows.
type backupLine struct {
	Table    string   `json:"table,omitempty"`
	Columns  []string `json:"columns,omitempty"`
	Sequence string   `json:"sequence,omitempty"`
	Last     int64    `json:"last,omitempty"`
	End      bool     `json:"end,omitempty"`
	Rows     int64    `json:"rows,omitempty"`
}

// bytesValue is binary content, which JSON has no form for.
type bytesValue struct {
	Bytes []byte `json:"b"`
}

// Backup writes all rows as they are at one moment, while others go on working,
// and tells how many. Sealed values stay sealed: they need their key.
func (db *DB) Backup(ctx context.Context, to io.Writer, now time.Time) (rows int64, err error) {
	tx, err := db.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return 0, fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	zip := gzip.NewWriter(to)
	b := backup{q: &Queries{q: tx, db: db}, out: bufio.NewWriter(zip)}
	if err := b.all(ctx, now); err != nil {
		return b.rows, err
	}
	return b.rows, errors.Join(b.out.Flush(), zip.Close())
}

type backup struct {
	q    *Queries
	out  *bufio.Writer
	rows int64
}

func (b *backup) line(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = b.out.Write(append(raw, '\n'))
	return err
}

func (b *backup) all(ctx context.Context, now time.Time) error {
	head := backupHeader{Format: backupFormat, Version: backupVersion, MadeAt: now.UTC()}
	if err := b.q.row(ctx, `SELECT MAX(version_id) FROM goose_db_version`).Scan(&head.Schema); err != nil {
		return fmt.Errorf("read version of the schema: %w", err)
	}
	tables, err := b.q.db.dialect.schema(ctx, b.q)
	if err == nil {
		err = b.line(head)
	}
	for _, t := range tables {
		if err == nil && !slices.Contains(notBackedUp, t.name) {
			err = b.table(ctx, t)
		}
	}
	if err != nil {
		return err
	}
	return b.line(backupLine{End: true, Rows: b.rows})
}

func (b *backup) table(ctx context.Context, t tableInfo) error {
	if err := b.line(backupLine{Table: t.name, Columns: t.columns}); err != nil {
		return err
	}
	values, targets := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range values {
		targets[i] = &values[i]
	}
	err := b.q.each(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		b.rows++
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = v
			if raw, ok := v.([]byte); ok {
				row[i] = bytesValue{append([]byte{}, raw...)} // never null
			}
		}
		return b.line(row)
	}, selectAll(t))
	if err != nil || !t.counted {
		return wrapTable(t.name, err)
	}
	last, err := b.q.db.dialect.sequence(ctx, b.q, t.name)
	if err != nil {
		return wrapTable(t.name, err)
	}
	return b.line(backupLine{Sequence: t.name, Last: last})
}

// selectAll reads a table in the order of its columns, so that two backups of
// the same content are the same.
func selectAll(t tableInfo) string {
	order := quoted(t.columns[:1])
	if !slices.Contains(t.columns, "id") {
		order = quoted(t.columns)
	}
	return `SELECT ` + quoted(t.columns) + ` FROM "` + t.name + `" ORDER BY ` + order
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func wrapTable(name string, err error) error {
	if err != nil {
		err = fmt.Errorf("table %s: %w", name, err)
	}
	return err
}
