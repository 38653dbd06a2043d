// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// Credential is a named secret of an account; Sealed is its encrypted value.
type Credential struct {
	ID, AccountID int64
	Name          string
	Description   string
	Sealed        []byte
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// PutCredential creates or replaces a credential.
func (q *Queries) PutCredential(ctx context.Context, c Credential, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO credentials (account_id, name, description, sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (account_id, name) DO UPDATE SET description = excluded.description, sealed = excluded.sealed, updated_at = excluded.updated_at
		RETURNING id`, c.AccountID, c.Name, c.Description, c.Sealed, millis(now), millis(now))
}

const credentialColumns = `SELECT id, account_id, name, description, sealed, created_at, updated_at FROM credentials `

func scanCredential(row scanner) (c Credential, err error) {
	err = row.Scan(&c.ID, &c.AccountID, &c.Name, &c.Description, &c.Sealed, stamp{&c.CreatedAt}, stamp{&c.UpdatedAt})
	return c, err
}

// Credential finds a credential by name.
func (q *Queries) Credential(ctx context.Context, account int64, name string) (Credential, error) {
	c, err := scanCredential(q.row(ctx, credentialColumns+`WHERE account_id = ? AND name = ?`, account, name))
	return c, one("credential", fmt.Sprintf("%q", name), err)
}

// Credentials lists the credentials of an account by name.
func (q *Queries) Credentials(ctx context.Context, account int64) ([]Credential, error) {
	return listed(ctx, q, scanCredential, credentialColumns+`WHERE account_id = ? ORDER BY name`, account)
}

// CredentialByID finds a credential of an account by id.
func (q *Queries) CredentialByID(ctx context.Context, account, id int64) (Credential, error) {
	c, err := scanCredential(q.row(ctx, credentialColumns+`WHERE account_id = ? AND id = ?`, account, id))
	return c, one("Credential", id, err)
}

// UpdateCredential writes name, description and sealed value.
func (q *Queries) UpdateCredential(ctx context.Context, c Credential, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE credentials SET name = ?, description = ?, sealed = ?, updated_at = ? WHERE id = ?`, c.Name, c.Description, c.Sealed, millis(now), c.ID)
	return err
}

// DeleteCredential removes a credential.
func (q *Queries) DeleteCredential(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM credentials WHERE id = ?`, id)
	return err
}
