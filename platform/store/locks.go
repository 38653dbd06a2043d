// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
)

// SetInstanceLocked keeps an instance from being ended by mistake, or not.
func (q *Queries) SetInstanceLocked(ctx context.Context, id int64, locked bool) error {
	_, err := q.exec(ctx, `UPDATE instances SET locked = ? WHERE id = ?`, flag(locked), id)
	return err
}

// InstanceLocked tells whether an instance is locked.
func (q *Queries) InstanceLocked(ctx context.Context, id int64) (bool, error) {
	var locked int
	err := q.row(ctx, `SELECT locked FROM instances WHERE id = ?`, id).Scan(&locked)
	return locked != 0, one("instance", id, err)
}

// TemplatesInDeployment lists the ids of the ServerTemplates that the servers
// of a deployment run.
func (q *Queries) TemplatesInDeployment(ctx context.Context, deploymentID int64) (list []int64, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		list = append(list, id)
		return err
	}, `SELECT DISTINCT server_template_id FROM servers WHERE deployment_id = ? ORDER BY server_template_id`, deploymentID)
	return list, err
}

// LivingInstances lists the instances of a cloud of an account that have not
// ended: launched, found or enrolled ones, oldest first.
func (q *Queries) LivingInstances(ctx context.Context, account, cloudID int64) ([]Instance, error) {
	return q.instances(ctx, `WHERE account_id = ? AND cloud_id = ? AND ended_at = 0 AND (declared_at > 0 OR launched_at > 0 OR resource_uid <> '') ORDER BY id`, account, cloudID)
}
