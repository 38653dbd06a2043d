// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
)

// Pool is for metrics only.
func (db *DB) Pool() *sql.DB { return db.pool }

// CountInstances counts declared instances that have not ended by their state.
func (q *Queries) CountInstances(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := q.each(ctx, func(rows *sql.Rows) error {
		var state string
		var n int64
		err := rows.Scan(&state, &n)
		counts[state] = n
		return err
	}, `SELECT state, COUNT(*) FROM instances WHERE declared_at > 0 AND ended_at = 0 GROUP BY state`)
	return counts, err
}
