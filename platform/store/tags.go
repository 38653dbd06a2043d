// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
)

// AddTag puts a tag on a resource; a tag that is there already stays.
func (q *Queries) AddTag(ctx context.Context, account int64, href, name string) error {
	_, err := q.exec(ctx, `INSERT INTO tags (account_id, href, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, account, href, name)
	return err
}

// DeleteTag takes a tag off a resource.
func (q *Queries) DeleteTag(ctx context.Context, account int64, href, name string) error {
	_, err := q.exec(ctx, `DELETE FROM tags WHERE account_id = ? AND href = ? AND name = ?`, account, href, name)
	return err
}

// TagRow is one tag of one resource.
type TagRow struct{ Href, Name string }

// Tags lists the tags of a resource, or of all resources of an account when
// href is empty, by resource and name.
func (q *Queries) Tags(ctx context.Context, account int64, href string) (list []TagRow, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var t TagRow
		err := rows.Scan(&t.Href, &t.Name)
		list = append(list, t)
		return err
	}, `SELECT href, name FROM tags WHERE account_id = ? AND (href = ? OR ? = '') ORDER BY href, name`, account, href, href)
	return list, err
}
