// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// RefreshToken lets a program log in as a person, in one account. The token
// itself is only here as a hash.
type RefreshToken struct {
	ID        int64
	UserID    int64
	AccountID int64
	Name      string
	CreatedAt time.Time
	UsedAt    time.Time // zero for never
}

// CreateRefreshToken stores the hash of a token and returns its id.
func (q *Queries) CreateRefreshToken(ctx context.Context, t RefreshToken, hash []byte, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO refresh_tokens (user_id, account_id, name, hash, created_at) VALUES (?, ?, ?, ?, ?) RETURNING id`,
		t.UserID, t.AccountID, t.Name, hash, millis(now))
}

const refreshColumns = `SELECT id, user_id, account_id, name, created_at, used_at FROM refresh_tokens `

func scanRefresh(row scanner) (t RefreshToken, err error) {
	err = row.Scan(&t.ID, &t.UserID, &t.AccountID, &t.Name, stamp{&t.CreatedAt}, stamp{&t.UsedAt})
	return t, err
}

// RefreshToken finds a token by its hash.
func (q *Queries) RefreshToken(ctx context.Context, hash []byte) (RefreshToken, error) {
	t, err := scanRefresh(q.row(ctx, refreshColumns+`WHERE hash = ?`, hash))
	return t, one("refresh token", "", err)
}

// RefreshTokens lists a person's tokens in an account, oldest first.
func (q *Queries) RefreshTokens(ctx context.Context, userID, account int64) ([]RefreshToken, error) {
	return listed(ctx, q, scanRefresh, refreshColumns+`WHERE user_id = ? AND account_id = ? ORDER BY id`, userID, account)
}

// UseRefreshToken notes when a token was last used.
func (q *Queries) UseRefreshToken(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE refresh_tokens SET used_at = ? WHERE id = ?`, millis(now), id)
	return err
}

// DeleteRefreshToken removes a token and the sessions that it began, and tells
// whether there was one.
func (q *Queries) DeleteRefreshToken(ctx context.Context, userID, account, id int64) (bool, error) {
	n, err := q.exec(ctx, `DELETE FROM refresh_tokens WHERE id = ? AND user_id = ? AND account_id = ?`, id, userID, account)
	return n > 0, err
}

// UserSession is a logged-in person; its secret is only here as a hash.
type UserSession struct {
	UserID    int64
	AccountID int64
	RefreshID int64 // 0 for a login by password
	ExpiresAt time.Time
}

// CreateUserSession stores the hash of a session's secret and forgets expired
// ones.
func (q *Queries) CreateUserSession(ctx context.Context, s UserSession, hash []byte, now time.Time) error {
	if _, err := q.exec(ctx, `DELETE FROM user_sessions WHERE expires_at <= ?`, millis(now)); err != nil {
		return err
	}
	_, err := q.exec(ctx, `INSERT INTO user_sessions (hash, user_id, account_id, refresh_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
		hash, s.UserID, s.AccountID, nullID(s.RefreshID), millis(now), millis(s.ExpiresAt))
	return err
}

// UserSession finds a session that has not expired by its hash.
func (q *Queries) UserSession(ctx context.Context, hash []byte, now time.Time) (s UserSession, err error) {
	var refresh sql.NullInt64
	err = q.row(ctx, `SELECT user_id, account_id, refresh_id, expires_at FROM user_sessions WHERE hash = ? AND expires_at > ?`, hash, millis(now)).
		Scan(&s.UserID, &s.AccountID, &refresh, stamp{&s.ExpiresAt})
	s.RefreshID = refresh.Int64
	return s, one("session", "", err)
}

// DeleteUserSession ends a session.
func (q *Queries) DeleteUserSession(ctx context.Context, hash []byte) error {
	_, err := q.exec(ctx, `DELETE FROM user_sessions WHERE hash = ?`, hash)
	return err
}
