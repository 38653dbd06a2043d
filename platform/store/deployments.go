// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// Deployment groups servers, with inputs that hold for all of them.
type Deployment struct {
	ID, AccountID  int64
	Name           string
	Description    string
	Locked         bool
	ServerTagScope string // deployment or account
	Inputs         map[string]rightscript.Value
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// CreateDeployment stores a deployment and returns its id.
func (q *Queries) CreateDeployment(ctx context.Context, d Deployment, now time.Time) (int64, error) {
	inputs, err := marshalInputs(d.Inputs)
	if err != nil {
		return 0, err
	}
	return q.insert(ctx, `INSERT INTO deployments (account_id, name, description, locked, server_tag_scope, inputs, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`, d.AccountID, d.Name, d.Description, flag(d.Locked), d.ServerTagScope, inputs, millis(now), millis(now))
}

// marshalInputs writes values as a JSON object, {} for none.
func marshalInputs(inputs map[string]rightscript.Value) (string, error) {
	if inputs == nil {
		return "{}", nil
	}
	raw, err := json.Marshal(inputs)
	return string(raw), err
}

// UpdateDeployment writes everything but account and time of creation.
func (q *Queries) UpdateDeployment(ctx context.Context, d Deployment, now time.Time) error {
	inputs, err := marshalInputs(d.Inputs)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE deployments SET name = ?, description = ?, locked = ?, server_tag_scope = ?, inputs = ?, updated_at = ? WHERE id = ?`,
		d.Name, d.Description, flag(d.Locked), d.ServerTagScope, inputs, millis(now), d.ID)
	return err
}

const deploymentColumns = `SELECT id, account_id, name, description, locked, server_tag_scope, inputs, created_at, updated_at FROM deployments `

func scanDeployment(row scanner) (d Deployment, err error) {
	var inputs string
	var locked int
	err = row.Scan(&d.ID, &d.AccountID, &d.Name, &d.Description, &locked, &d.ServerTagScope, &inputs, stamp{&d.CreatedAt}, stamp{&d.UpdatedAt})
	if err != nil {
		return d, err
	}
	d.Locked = locked != 0
	return d, json.Unmarshal([]byte(inputs), &d.Inputs)
}

// Deployment finds a deployment of an account by id.
func (q *Queries) Deployment(ctx context.Context, account, id int64) (Deployment, error) {
	d, err := scanDeployment(q.row(ctx, deploymentColumns+`WHERE account_id = ? AND id = ?`, account, id))
	return d, one("Deployment", id, err)
}

// DeploymentByName finds a deployment by name.
func (q *Queries) DeploymentByName(ctx context.Context, account int64, name string) (Deployment, error) {
	d, err := scanDeployment(q.row(ctx, deploymentColumns+`WHERE account_id = ? AND name = ?`, account, name))
	return d, one("Deployment", fmt.Sprintf("%q", name), err)
}

// Deployments lists the deployments of an account by name.
func (q *Queries) Deployments(ctx context.Context, account int64) ([]Deployment, error) {
	return listed(ctx, q, scanDeployment, deploymentColumns+`WHERE account_id = ? ORDER BY name`, account)
}

// DeleteDeployment removes a deployment without servers.
func (q *Queries) DeleteDeployment(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM deployments WHERE id = ?`, id)
	return err
}

// CountInDeployment counts the servers and arrays of a deployment.
func (q *Queries) CountInDeployment(ctx context.Context, id int64) (n int, err error) {
	err = q.row(ctx, `SELECT (SELECT COUNT(*) FROM servers WHERE deployment_id = ?) + (SELECT COUNT(*) FROM server_arrays WHERE deployment_id = ?)`, id, id).Scan(&n)
	return n, err
}
