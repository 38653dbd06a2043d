// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"time"
)

// pruneBatch bounds how many audit entries one transaction removes, so that
// agents do not wait for it.
const pruneBatch = 500

// PruneAudit removes audit entries that nobody has written to since before,
// with their text, and tells how many.
func (db *DB) PruneAudit(ctx context.Context, before time.Time) (removed int64, err error) {
	for {
		var n int64
		err := db.InTx(ctx, func(q *Queries) (err error) {
			n, err = q.exec(ctx, `DELETE FROM audit_entries WHERE id IN (SELECT id FROM audit_entries WHERE updated_at < ? ORDER BY updated_at LIMIT ?)`,
				millis(before), pruneBatch)
			return err
		})
		removed += n
		if err != nil || n < pruneBatch {
			return removed, err
		}
	}
}

// DropExpired forgets bearer tokens and nonces whose time is over. They let
// nobody in; they only take room.
func (db *DB) DropExpired(ctx context.Context, now time.Time) error {
	if _, err := db.exec(ctx, `DELETE FROM access_tokens WHERE expires_at <= ?`, millis(now)); err != nil {
		return err
	}
	_, err := db.exec(ctx, `DELETE FROM used_nonces WHERE expires_at <= ?`, millis(now))
	return err
}
