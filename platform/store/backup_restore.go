// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Rows are inserted in batches, within what both databases take.
const (
	batchValues = 900
	batchBytes  = 4 << 20
)

// Restore fills the empty database of that location from a backup, whichever
// database the backup was made of, and tells how many rows there were. The
// backup may be older than this program.
func Restore(ctx context.Context, location string, from io.ReadSeeker) (rows int64, err error) {
	head, want, err := checkBackup(from)
	if err != nil {
		return 0, err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	db, err := connect(ctx, location)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, err := db.dialect.schema(ctx, &db.Queries)
	if err != nil {
		return 0, err
	}
	if len(tables) > 0 {
		return 0, fmt.Errorf("database %s is not empty; restore into a new one", Describe(location))
	}
	if err := db.dialect.migrate(ctx, db, head.Schema); err != nil {
		return 0, err
	}
	err = db.InTx(ctx, func(q *Queries) error { return restoreRows(ctx, q, from) })
	if err != nil {
		return 0, fmt.Errorf("restore: %w; the database %s holds empty tables now, remove it before you try again", err, Describe(location))
	}
	return want, db.dialect.migrate(ctx, db, 0)
}

// checkBackup reads a backup to its end before anything is written.
func checkBackup(from io.Reader) (head backupHeader, rows int64, err error) {
	dec, err := openBackup(from)
	if err != nil {
		return head, 0, err
	}
	if err := dec.Decode(&head); err != nil || head.Format != backupFormat {
		return head, 0, errors.New("this is no backup of rightscaled")
	}
	if head.Version != backupVersion {
		return head, 0, fmt.Errorf("the backup has format %d, this rightscaled knows %d; use the newer rightscaled", head.Version, backupVersion)
	}
	newest, err := newestMigration()
	if err != nil {
		return head, 0, err
	}
	if head.Schema > newest {
		return head, 0, fmt.Errorf("the backup has schema version %d, this rightscaled knows up to %d; use the newer rightscaled", head.Schema, newest)
	}
	for {
		line, row, err := nextLine(dec)
		switch {
		case err != nil:
			return head, rows, fmt.Errorf("the backup is damaged or cut off after %d rows: %w", rows, err)
		case row != nil:
			rows++
		case line.End && line.Rows != rows:
			return head, rows, fmt.Errorf("the backup is damaged: it holds %d rows of %d", rows, line.Rows)
		case line.End:
			return head, rows, nil
		}
	}
}

func openBackup(from io.Reader) (*json.Decoder, error) {
	zip, err := gzip.NewReader(from)
	if err != nil {
		return nil, fmt.Errorf("this is no backup of rightscaled: %w", err)
	}
	dec := json.NewDecoder(zip)
	dec.UseNumber()
	return dec, nil
}

// nextLine reads a row or another line.
func nextLine(dec *json.Decoder) (line backupLine, row []json.RawMessage, err error) {
	var raw json.RawMessage
	if err = dec.Decode(&raw); err != nil {
		return line, nil, err
	}
	if raw[0] == '[' {
		err = json.Unmarshal(raw, &row)
	} else {
		err = json.Unmarshal(raw, &line)
	}
	return line, row, err
}

func newestMigration() (newest int64, err error) {
	files, err := migrations.ReadDir("migrations/sqlite")
	for _, f := range files {
		var n int64
		if _, err := fmt.Sscanf(f.Name(), "%d_", &n); err != nil {
			return 0, fmt.Errorf("migration %s: %w", f.Name(), err)
		}
		newest = max(newest, n)
	}
	return newest, err
}

func restoreRows(ctx context.Context, q *Queries, from io.ReadSeeker) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tables, err := q.db.dialect.schema(ctx, q)
	if err != nil {
		return err
	}
	// What the migrations have put in is in the backup as well.
	for _, t := range slices.Backward(tables) {
		if slices.Contains(notBackedUp, t.name) {
			continue
		}
		if _, err := q.exec(ctx, `DELETE FROM "`+t.name+`"`); err != nil {
			return wrapTable(t.name, err)
		}
	}
	dec, err := openBackup(from)
	if err != nil {
		return err
	}
	var head backupHeader
	if err := dec.Decode(&head); err != nil {
		return err
	}
	in := inserter{q: q, tables: tables}
	for {
		line, row, err := nextLine(dec)
		switch {
		case err != nil:
		case row != nil:
			err = in.add(ctx, row)
		default:
			err = in.line(ctx, line)
		}
		if err != nil || line.End {
			return err
		}
	}
}

// inserter puts rows into a table in batches.
type inserter struct {
	q      *Queries
	tables []tableInfo
	table  tableInfo // columns as in the backup
	values []any
	bytes  int
}

// line ends the table before and begins the next one.
func (in *inserter) line(ctx context.Context, l backupLine) error {
	if err := in.flush(ctx); err != nil {
		return err
	}
	switch {
	case l.Table != "":
		i := slices.IndexFunc(in.tables, func(t tableInfo) bool { return t.name == l.Table })
		if i < 0 {
			return fmt.Errorf("the database has no table %q", l.Table)
		}
		for _, c := range l.Columns {
			if !slices.Contains(in.tables[i].columns, c) {
				return fmt.Errorf("table %s has no column %q", l.Table, c)
			}
		}
		in.table = tableInfo{name: l.Table, columns: l.Columns}
	case l.Sequence == in.table.name && l.Sequence != "":
		return wrapTable(l.Sequence, in.q.db.dialect.setSequence(ctx, in.q, l.Sequence, l.Last))
	}
	return nil
}

func (in *inserter) add(ctx context.Context, row []json.RawMessage) error {
	if len(row) != len(in.table.columns) || len(row) == 0 {
		return fmt.Errorf("table %s: a row has %d values for %d columns", in.table.name, len(row), len(in.table.columns))
	}
	for _, raw := range row {
		v, err := backupValue(raw)
		if err != nil {
			return wrapTable(in.table.name, err)
		}
		in.values = append(in.values, v)
		in.bytes += len(raw)
	}
	if len(in.values)+len(row) > batchValues || in.bytes > batchBytes {
		return in.flush(ctx)
	}
	return nil
}

func (in *inserter) flush(ctx context.Context) error {
	if len(in.values) == 0 {
		return nil
	}
	columns := len(in.table.columns)
	one := "(" + strings.TrimSuffix(strings.Repeat("?, ", columns), ", ") + "), "
	rows := strings.TrimSuffix(strings.Repeat(one, len(in.values)/columns), ", ")
	_, err := in.q.exec(ctx, `INSERT INTO "`+in.table.name+`" (`+quoted(in.table.columns)+`) VALUES `+rows, in.values...)
	in.values, in.bytes = in.values[:0], 0
	return wrapTable(in.table.name, err)
}

func backupValue(raw json.RawMessage) (any, error) {
	switch raw[0] {
	case 'n':
		return nil, nil //nolint:nilnil // NULL
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case '{':
		b := bytesValue{Bytes: []byte{}}
		err := json.Unmarshal(raw, &b)
		return b.Bytes, err
	default:
		var n int64
		err := json.Unmarshal(raw, &n)
		return n, err
	}
}
