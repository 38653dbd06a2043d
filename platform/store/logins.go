// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// LoginUser is a person who may log in to the instances of an account.
type LoginUser struct {
	ID, AccountID int64
	Username      string
	PublicKeys    []string
	Superuser     bool
	ExpiresAt     time.Time // zero: never
	CreatedAt     time.Time
}

// PutLoginUser creates or replaces a login user.
func (q *Queries) PutLoginUser(ctx context.Context, u LoginUser, now time.Time) error {
	keys, err := json.Marshal(nonNil(u.PublicKeys))
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `INSERT INTO login_users (account_id, username, public_keys, superuser, expires_at, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (account_id, username) DO UPDATE SET public_keys = excluded.public_keys, superuser = excluded.superuser, expires_at = excluded.expires_at`,
		u.AccountID, u.Username, string(keys), flag(u.Superuser), millis(u.ExpiresAt), millis(now))
	return err
}

// DeleteLoginUser removes a login user; false when there was none.
func (q *Queries) DeleteLoginUser(ctx context.Context, account int64, username string) (bool, error) {
	n, err := q.exec(ctx, `DELETE FROM login_users WHERE account_id = ? AND username = ?`, account, username)
	return n > 0, err
}

// LoginUsers lists the login users of an account by name.
func (q *Queries) LoginUsers(ctx context.Context, account int64) (list []LoginUser, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var u LoginUser
		var keys string
		if err := rows.Scan(&u.ID, &u.AccountID, &u.Username, &keys, &u.Superuser, stamp{&u.ExpiresAt}, stamp{&u.CreatedAt}); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(keys), &u.PublicKeys)
		list = append(list, u)
		return err
	}, `SELECT id, account_id, username, public_keys, superuser, expires_at, created_at FROM login_users WHERE account_id = ? ORDER BY username`, account)
	return list, err
}
