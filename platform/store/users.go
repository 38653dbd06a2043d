// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// User is a person who may log in to the platform.
type User struct {
	ID       int64
	Email    string // lower case
	Password string // its hash, see access; "" for none
	// Roles are those in the account that was asked for.
	Roles     []string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Account is what objects belong to.
type Account struct {
	ID        int64
	Name      string
	CreatedAt time.Time
}

// Account finds an account by id.
func (q *Queries) Account(ctx context.Context, id int64) (a Account, err error) {
	err = q.row(ctx, `SELECT id, name, created_at FROM accounts WHERE id = ?`, id).Scan(&a.ID, &a.Name, stamp{&a.CreatedAt})
	return a, one("Account", id, err)
}

// AccountsOfUser lists the accounts in which a person has a role.
func (q *Queries) AccountsOfUser(ctx context.Context, userID int64) (list []Account, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var a Account
		err := rows.Scan(&a.ID, &a.Name, stamp{&a.CreatedAt})
		list = append(list, a)
		return err
	}, `SELECT id, name, created_at FROM accounts WHERE id IN (SELECT account_id FROM user_roles WHERE user_id = ?) ORDER BY id`, userID)
	return list, err
}

// CreateUser stores a person without roles and returns the id.
func (q *Queries) CreateUser(ctx context.Context, email, password string, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO users (email, password, created_at, updated_at) VALUES (?, ?, ?, ?) RETURNING id`, email, password, millis(now), millis(now))
}

// SetRoles replaces a person's roles in an account.
func (q *Queries) SetRoles(ctx context.Context, userID, account int64, roles []string) error {
	if _, err := q.exec(ctx, `DELETE FROM user_roles WHERE user_id = ? AND account_id = ?`, userID, account); err != nil {
		return err
	}
	for _, role := range roles {
		if _, err := q.exec(ctx, `INSERT INTO user_roles (user_id, account_id, role) VALUES (?, ?, ?)`, userID, account, role); err != nil {
			return fmt.Errorf("store role %s: %w", role, err)
		}
	}
	return nil
}

const userColumns = `SELECT id, email, password, created_at, updated_at FROM users `

func scanUser(row scanner) (u User, err error) {
	err = row.Scan(&u.ID, &u.Email, &u.Password, stamp{&u.CreatedAt}, stamp{&u.UpdatedAt})
	return u, err
}

// User finds a person by id, with the roles in an account.
func (q *Queries) User(ctx context.Context, id, account int64) (User, error) {
	u, err := scanUser(q.row(ctx, userColumns+`WHERE id = ?`, id))
	if err != nil {
		return u, one("user", id, err)
	}
	u.Roles, err = q.roles(ctx, u.ID, account)
	return u, err
}

// UserByEmail finds a person by address, with the roles in an account.
func (q *Queries) UserByEmail(ctx context.Context, email string, account int64) (User, error) {
	u, err := scanUser(q.row(ctx, userColumns+`WHERE email = ?`, email))
	if err != nil {
		return u, one("user", fmt.Sprintf("%q", email), err)
	}
	u.Roles, err = q.roles(ctx, u.ID, account)
	return u, err
}

func (q *Queries) roles(ctx context.Context, userID, account int64) (list []string, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var role string
		err := rows.Scan(&role)
		list = append(list, role)
		return err
	}, `SELECT role FROM user_roles WHERE user_id = ? AND account_id = ? ORDER BY role`, userID, account)
	return list, err
}

// Users lists the people who have a role in an account, by address.
func (q *Queries) Users(ctx context.Context, account int64) (list []User, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		u, err := scanUser(rows)
		list = append(list, u)
		return err
	}, userColumns+`WHERE id IN (SELECT user_id FROM user_roles WHERE account_id = ?) ORDER BY email`, account)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Roles, err = q.roles(ctx, list[i].ID, account); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// CountUsers counts all people.
func (q *Queries) CountUsers(ctx context.Context) (n int, err error) {
	err = q.row(ctx, `SELECT COUNT(*) FROM users`).Scan(&n)
	return n, err
}

// SetPassword writes the hash of a new password and ends the sessions that the
// old one began.
func (q *Queries) SetPassword(ctx context.Context, userID int64, password string, now time.Time) error {
	if _, err := q.exec(ctx, `DELETE FROM user_sessions WHERE user_id = ? AND refresh_id IS NULL`, userID); err != nil {
		return err
	}
	_, err := q.exec(ctx, `UPDATE users SET password = ?, updated_at = ? WHERE id = ?`, password, millis(now), userID)
	return err
}

// DeleteUser removes a person with roles, refresh tokens and sessions.
func (q *Queries) DeleteUser(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM users WHERE id = ?`, id)
	return err
}

// CreateAccount stores an account.
func (q *Queries) CreateAccount(ctx context.Context, a Account, now time.Time) error {
	_, err := q.exec(ctx, `INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?)`, a.ID, a.Name, millis(now))
	return err
}
