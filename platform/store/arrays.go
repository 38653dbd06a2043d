// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// ServerArray is a number of servers that are all made the same way.
type ServerArray struct {
	ID, AccountID int64
	Name          string
	Description   string
	DeploymentID  int64 // 0 for none
	Enabled       bool
	Size          int
	Spec          json.RawMessage // how each server is made, see fleet
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// CreateServerArray stores an array and returns its id.
func (q *Queries) CreateServerArray(ctx context.Context, a ServerArray, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO server_arrays (account_id, name, description, deployment_id, enabled, size, spec, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`, a.AccountID, a.Name, a.Description, nullID(a.DeploymentID), flag(a.Enabled), a.Size, string(a.Spec), millis(now), millis(now))
}

// UpdateServerArray writes everything but account and time of creation.
func (q *Queries) UpdateServerArray(ctx context.Context, a ServerArray, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE server_arrays SET name = ?, description = ?, deployment_id = ?, enabled = ?, size = ?, spec = ?, updated_at = ? WHERE id = ?`,
		a.Name, a.Description, nullID(a.DeploymentID), flag(a.Enabled), a.Size, string(a.Spec), millis(now), a.ID)
	return err
}

const arrayColumns = `SELECT id, account_id, name, description, deployment_id, enabled, size, spec, created_at, updated_at FROM server_arrays `

func scanArray(row scanner) (a ServerArray, err error) {
	var deployment sql.NullInt64
	var enabled int
	var spec string
	err = row.Scan(&a.ID, &a.AccountID, &a.Name, &a.Description, &deployment, &enabled, &a.Size, &spec, stamp{&a.CreatedAt}, stamp{&a.UpdatedAt})
	a.DeploymentID, a.Enabled, a.Spec = deployment.Int64, enabled != 0, json.RawMessage(spec)
	return a, err
}

// ServerArray finds an array of an account by id.
func (q *Queries) ServerArray(ctx context.Context, account, id int64) (ServerArray, error) {
	a, err := scanArray(q.row(ctx, arrayColumns+`WHERE account_id = ? AND id = ?`, account, id))
	return a, one("ServerArray", id, err)
}

// ServerArrayByName finds an array by name.
func (q *Queries) ServerArrayByName(ctx context.Context, account int64, name string) (ServerArray, error) {
	a, err := scanArray(q.row(ctx, arrayColumns+`WHERE account_id = ? AND name = ?`, account, name))
	return a, one("ServerArray", fmt.Sprintf("%q", name), err)
}

// ServerArrays lists the arrays of an account by name.
func (q *Queries) ServerArrays(ctx context.Context, account int64) ([]ServerArray, error) {
	return listed(ctx, q, scanArray, arrayColumns+`WHERE account_id = ? ORDER BY name`, account)
}

// ServersOfArray lists the servers of an array by id.
func (q *Queries) ServersOfArray(ctx context.Context, id int64) ([]Server, error) {
	return listed(ctx, q, scanServer, serverColumns+`WHERE array_id = ? ORDER BY id`, id)
}

// SetArray puts a server into an array.
func (q *Queries) SetArray(ctx context.Context, serverID, arrayID int64) error {
	_, err := q.exec(ctx, `UPDATE servers SET array_id = ? WHERE id = ?`, nullID(arrayID), serverID)
	return err
}

// DeleteServerArray removes an array without servers.
func (q *Queries) DeleteServerArray(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM server_arrays WHERE id = ?`, id)
	return err
}
