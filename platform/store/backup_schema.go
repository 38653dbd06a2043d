// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// tableInfo is what a backup needs to know of a table.
type tableInfo struct {
	name    string
	columns []string
	// refs are the tables that rows of this one point to.
	refs []string
	// counted: its ids are given by the database and never again.
	counted bool
}

// notBackedUp are tables of one database and not of the platform.
var notBackedUp = []string{"goose_db_version", "leases"}

// readSchema collects the tables from three queries: table and column; table and
// table that it points to; tables that count. Tables come after those that they
// point to.
func readSchema(ctx context.Context, q *Queries, columns, refs, counted string) ([]tableInfo, error) {
	byName := map[string]*tableInfo{}
	var names []string
	err := q.each(ctx, func(rows *sql.Rows) error {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return err
		}
		if byName[table] == nil {
			byName[table] = &tableInfo{name: table}
			names = append(names, table)
		}
		byName[table].columns = append(byName[table].columns, column)
		return nil
	}, columns)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		var table, other string
		if err := rows.Scan(&table, &other); err != nil {
			return err
		}
		if t := byName[table]; t != nil && other != table {
			t.refs = append(t.refs, other)
		}
		return nil
	}, refs)
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		var table string
		if err := rows.Scan(&table); err != nil {
			return err
		}
		if t := byName[table]; t != nil {
			t.counted = true
		}
		return nil
	}, counted)
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	return sorted(names, byName)
}

// sorted puts tables after those that they point to.
func sorted(names []string, byName map[string]*tableInfo) (list []tableInfo, err error) {
	slices.Sort(names)
	done := map[string]bool{}
	for len(list) < len(names) {
		before := len(list)
		for _, name := range names {
			t := byName[name]
			if !done[name] && !slices.ContainsFunc(t.refs, func(r string) bool { return byName[r] != nil && !done[r] }) {
				done[name] = true
				list = append(list, *t)
			}
		}
		if len(list) == before {
			return nil, fmt.Errorf("tables %v point to each other in a circle", names)
		}
	}
	return list, nil
}
