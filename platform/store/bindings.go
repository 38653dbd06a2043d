// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// CreateServerTemplate stores a template without bindings and returns its id.
func (q *Queries) CreateServerTemplate(ctx context.Context, t ServerTemplate, now time.Time) (int64, error) {
	inputs, err := marshalInputs(t.Inputs)
	if err != nil {
		return 0, err
	}
	return q.insert(ctx, `INSERT INTO server_templates (account_id, name, revision, lineage_id, commit_message, description, inputs, multi_cloud_images, alerts, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		t.AccountID, t.Name, t.Revision, t.LineageID, t.CommitMessage, t.Description, inputs, listText(t.MultiCloudImages), listText(t.Alerts), millis(now), millis(now))
}

// listText is a JSON list, [] for none.
func listText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "[]"
	}
	return string(raw)
}

// UpdateServerTemplate writes name, description and inputs.
func (q *Queries) UpdateServerTemplate(ctx context.Context, t ServerTemplate, now time.Time) error {
	inputs, err := marshalInputs(t.Inputs)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE server_templates SET name = ?, description = ?, inputs = ?, updated_at = ? WHERE id = ?`, t.Name, t.Description, inputs, millis(now), t.ID)
	return err
}

// CountServersOfTemplate counts the servers that run a template.
func (q *Queries) CountServersOfTemplate(ctx context.Context, id int64) (n int, err error) {
	err = q.row(ctx, `SELECT COUNT(*) FROM servers WHERE server_template_id = ?`, id).Scan(&n)
	return n, err
}

// DeleteServerTemplate removes a template with its bindings; its scripts stay.
func (q *Queries) DeleteServerTemplate(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM server_templates WHERE id = ?`, id)
	return err
}

// PlacedBinding is a binding with its id.
type PlacedBinding struct {
	ID, TemplateID int64
	Binding
	Script RightScript // id, name, revision and description only
}

const bindingColumns = `SELECT b.id, b.server_template_id, b.right_script_id, b.sequence, b.position, s.name, s.revision, s.lineage_id, s.description, s.created_at, s.updated_at
	FROM runnable_bindings b JOIN right_scripts s ON s.id = b.right_script_id `

func scanBinding(row scanner) (b PlacedBinding, err error) {
	s := &b.Script
	err = row.Scan(&b.ID, &b.TemplateID, &b.ScriptID, &b.Sequence, &b.Position, &s.Name, &s.Revision, &s.LineageID, &s.Description, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
	s.ID = b.ScriptID
	return b, err
}

// Bindings lists the bindings of a template by sequence and position.
func (q *Queries) Bindings(ctx context.Context, templateID int64) ([]PlacedBinding, error) {
	return listed(ctx, q, scanBinding, bindingColumns+`WHERE b.server_template_id = ? ORDER BY CASE b.sequence WHEN 'Boot' THEN 0 WHEN 'Operational' THEN 1 ELSE 2 END, b.position`, templateID)
}

// PlacedBinding finds a binding of a template by id.
func (q *Queries) PlacedBinding(ctx context.Context, templateID, id int64) (PlacedBinding, error) {
	b, err := scanBinding(q.row(ctx, bindingColumns+`WHERE b.server_template_id = ? AND b.id = ?`, templateID, id))
	return b, one("RunnableBinding", id, err)
}

// CreateBinding puts a script into a template and returns the binding's id.
func (q *Queries) CreateBinding(ctx context.Context, templateID int64, b Binding) (int64, error) {
	return q.insert(ctx, `INSERT INTO runnable_bindings (server_template_id, right_script_id, sequence, position) VALUES (?, ?, ?, ?) RETURNING id`,
		templateID, b.ScriptID, b.Sequence, b.Position)
}

// PlaceBinding moves a binding. A position must be free, so whoever moves
// several parks them at negative ones first.
func (q *Queries) PlaceBinding(ctx context.Context, id int64, b Binding) error {
	_, err := q.exec(ctx, `UPDATE runnable_bindings SET right_script_id = ?, sequence = ?, position = ? WHERE id = ?`, b.ScriptID, b.Sequence, b.Position, id)
	return err
}

// DeleteBinding takes a script out of a template.
func (q *Queries) DeleteBinding(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM runnable_bindings WHERE id = ?`, id)
	return err
}

// DisabledScripts lists the scripts of its ServerTemplate that a server does not
// run; Position is not set.
func (q *Queries) DisabledScripts(ctx context.Context, serverID int64) (list []Binding, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var b Binding
		err := rows.Scan(&b.Sequence, &b.ScriptID)
		list = append(list, b)
		return err
	}, `SELECT sequence, right_script_id FROM disabled_scripts WHERE server_id = ? ORDER BY sequence, right_script_id`, serverID)
	return list, err
}

// SetScriptDisabled keeps a script of its ServerTemplate from a server, or gives
// it back.
func (q *Queries) SetScriptDisabled(ctx context.Context, serverID int64, b Binding, disabled bool) error {
	statement := `DELETE FROM disabled_scripts WHERE server_id = ? AND sequence = ? AND right_script_id = ?`
	if disabled {
		statement = `INSERT INTO disabled_scripts (server_id, sequence, right_script_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`
	}
	_, err := q.exec(ctx, statement, serverID, b.Sequence, b.ScriptID)
	return err
}

// AlertSpec is a condition on a metric, kept for the tools that write it.
type AlertSpec struct {
	ID, TemplateID int64
	Name           string
	Detail         map[string]string
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// PutAlertSpec creates an alert, or replaces the one of the same id.
func (q *Queries) PutAlertSpec(ctx context.Context, a AlertSpec, now time.Time) (int64, error) {
	raw, err := json.Marshal(a.Detail)
	if err != nil {
		return 0, err
	}
	if a.ID != 0 {
		_, err := q.exec(ctx, `UPDATE alert_specs SET name = ?, detail = ?, updated_at = ? WHERE id = ?`, a.Name, string(raw), millis(now), a.ID)
		return a.ID, err
	}
	return q.insert(ctx, `INSERT INTO alert_specs (server_template_id, name, detail, created_at, updated_at) VALUES (?, ?, ?, ?, ?) RETURNING id`,
		a.TemplateID, a.Name, string(raw), millis(now), millis(now))
}

// AlertSpecs lists the alerts of a template by name.
func (q *Queries) AlertSpecs(ctx context.Context, templateID int64) (list []AlertSpec, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var a AlertSpec
		var raw string
		if err := rows.Scan(&a.ID, &a.TemplateID, &a.Name, &raw, stamp{&a.CreatedAt}, stamp{&a.UpdatedAt}); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(raw), &a.Detail)
		list = append(list, a)
		return err
	}, `SELECT id, server_template_id, name, detail, created_at, updated_at FROM alert_specs WHERE server_template_id = ? ORDER BY name`, templateID)
	return list, err
}

// DeleteAlertSpec removes an alert.
func (q *Queries) DeleteAlertSpec(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM alert_specs WHERE id = ?`, id)
	return err
}
