// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// ServerTemplate is a stored ServerTemplate.
type ServerTemplate struct {
	ID, AccountID    int64
	Name             string
	Revision         int   // 0 is HEAD
	LineageID        int64 // the HEAD that a revision was committed of, 0 for a HEAD
	CommitMessage    string
	Description      string
	Inputs           map[string]rightscript.Value
	MultiCloudImages json.RawMessage
	Alerts           json.RawMessage
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

// RightScript is a stored script.
type RightScript struct {
	ID, AccountID int64
	Name          string
	Revision      int   // 0 is HEAD
	LineageID     int64 // the HEAD that a revision was committed of, 0 for a HEAD
	CommitMessage string
	Description   string
	Source        string
	Packages      string
	Inputs        []rightscript.Input
	Attachments   []Attachment
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Attachment is a file of a script.
type Attachment struct {
	Filename string
	Blob
}

// Binding puts a script into a sequence of a template.
type Binding struct {
	ScriptID int64
	Sequence string
	Position int
}

// PutRightScript creates or replaces the script of that name and revision,
// with its attachments, and returns its id.
func (q *Queries) PutRightScript(ctx context.Context, s RightScript, now time.Time) (int64, error) {
	inputs, err := json.Marshal(s.Inputs)
	if err != nil {
		return 0, err
	}
	id, err := q.insert(ctx, `INSERT INTO right_scripts (account_id, name, revision, description, source, packages, inputs, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account_id, name, revision) DO UPDATE SET description = excluded.description, source = excluded.source,
			packages = excluded.packages, inputs = excluded.inputs, updated_at = excluded.updated_at
		RETURNING id`, s.AccountID, s.Name, s.Revision, s.Description, s.Source, s.Packages, string(inputs), millis(now), millis(now))
	if err != nil {
		return 0, fmt.Errorf("store script %q: %w", s.Name, err)
	}
	if _, err := q.exec(ctx, `DELETE FROM right_script_attachments WHERE right_script_id = ?`, id); err != nil {
		return 0, err
	}
	for _, a := range s.Attachments {
		if _, err := q.exec(ctx, `INSERT INTO right_script_attachments (right_script_id, filename, digest) VALUES (?, ?, ?)`, id, a.Filename, a.Digest); err != nil {
			return 0, fmt.Errorf("store attachment %q: %w", a.Filename, err)
		}
	}
	return id, nil
}

// RightScriptID finds the HEAD revision of a script by name.
func (q *Queries) RightScriptID(ctx context.Context, account int64, name string) (id int64, err error) {
	err = q.row(ctx, `SELECT id FROM right_scripts WHERE account_id = ? AND name = ? AND revision = 0`, account, name).Scan(&id)
	return id, one("RightScript", fmt.Sprintf("%q", name), err)
}

// PutServerTemplate creates or replaces the template of that name and revision
// together with its bindings, and returns its id.
func (q *Queries) PutServerTemplate(ctx context.Context, t ServerTemplate, bindings []Binding, now time.Time) (int64, error) {
	inputs, err := json.Marshal(t.Inputs)
	if err != nil {
		return 0, err
	}
	id, err := q.insert(ctx, `INSERT INTO server_templates (account_id, name, revision, description, inputs, multi_cloud_images, alerts, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account_id, name, revision) DO UPDATE SET description = excluded.description, inputs = excluded.inputs,
			multi_cloud_images = excluded.multi_cloud_images, alerts = excluded.alerts, updated_at = excluded.updated_at
		RETURNING id`, t.AccountID, t.Name, t.Revision, t.Description, string(inputs), string(t.MultiCloudImages), string(t.Alerts), millis(now), millis(now))
	if err != nil {
		return 0, fmt.Errorf("store ServerTemplate %q: %w", t.Name, err)
	}
	if _, err := q.exec(ctx, `DELETE FROM runnable_bindings WHERE server_template_id = ?`, id); err != nil {
		return 0, err
	}
	for _, b := range bindings {
		if _, err := q.exec(ctx, `INSERT INTO runnable_bindings (server_template_id, right_script_id, sequence, position) VALUES (?, ?, ?, ?)`,
			id, b.ScriptID, b.Sequence, b.Position); err != nil {
			return 0, fmt.Errorf("store binding: %w", err)
		}
	}
	return id, nil
}

const templateColumns = `SELECT id, account_id, name, revision, lineage_id, commit_message, description, inputs, multi_cloud_images, alerts, created_at, updated_at FROM server_templates `

func scanTemplate(row scanner) (t ServerTemplate, err error) {
	var inputs, images, alerts string
	if err = row.Scan(&t.ID, &t.AccountID, &t.Name, &t.Revision, &t.LineageID, &t.CommitMessage, &t.Description, &inputs, &images, &alerts, stamp{&t.CreatedAt}, stamp{&t.UpdatedAt}); err != nil {
		return t, err
	}
	t.MultiCloudImages, t.Alerts = json.RawMessage(images), json.RawMessage(alerts)
	return t, json.Unmarshal([]byte(inputs), &t.Inputs)
}

// ServerTemplate finds a template by id.
func (q *Queries) ServerTemplate(ctx context.Context, id int64) (ServerTemplate, error) {
	t, err := scanTemplate(q.row(ctx, templateColumns+`WHERE id = ?`, id))
	return t, one("ServerTemplate", id, err)
}

// ServerTemplateByName finds the HEAD revision of a template.
func (q *Queries) ServerTemplateByName(ctx context.Context, account int64, name string) (ServerTemplate, error) {
	t, err := scanTemplate(q.row(ctx, templateColumns+`WHERE account_id = ? AND name = ? AND revision = 0`, account, name))
	return t, one("ServerTemplate", fmt.Sprintf("%q", name), err)
}

// ServerTemplates lists the templates of an account by name.
func (q *Queries) ServerTemplates(ctx context.Context, account int64) ([]ServerTemplate, error) {
	return listed(ctx, q, scanTemplate, templateColumns+`WHERE account_id = ? ORDER BY name, revision`, account)
}

// BoundScript is a script at its place in a template.
type BoundScript struct {
	Sequence string
	Position int
	RightScript
}

// BoundScripts lists the scripts of a template by position; an empty sequence
// means all sequences.
func (q *Queries) BoundScripts(ctx context.Context, templateID int64, sequence string) (list []BoundScript, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var s BoundScript
		var inputs string
		if err := rows.Scan(&s.Sequence, &s.Position, &s.ID, &s.AccountID, &s.Name, &s.Revision, &s.Description, &s.Source, &s.Packages, &inputs, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt}); err != nil {
			return err
		}
		list = append(list, s)
		return json.Unmarshal([]byte(inputs), &list[len(list)-1].Inputs)
	}, `SELECT b.sequence, b.position, s.id, s.account_id, s.name, s.revision, s.description, s.source, s.packages, s.inputs, s.created_at, s.updated_at
		FROM runnable_bindings b JOIN right_scripts s ON s.id = b.right_script_id
		WHERE b.server_template_id = ? AND (b.sequence = ? OR ? = '')
		ORDER BY CASE b.sequence WHEN 'Boot' THEN 0 WHEN 'Operational' THEN 1 ELSE 2 END, b.position`, templateID, sequence, sequence)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Attachments, err = q.attachments(ctx, list[i].ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Script finds a script by id, with its attachments.
func (q *Queries) Script(ctx context.Context, account, id int64) (s RightScript, err error) {
	var inputs string
	err = q.row(ctx, `SELECT id, account_id, name, revision, lineage_id, commit_message, description, source, packages, inputs, created_at, updated_at
		FROM right_scripts WHERE account_id = ? AND id = ?`, account, id).
		Scan(&s.ID, &s.AccountID, &s.Name, &s.Revision, &s.LineageID, &s.CommitMessage, &s.Description, &s.Source, &s.Packages, &inputs, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
	if err != nil {
		return s, one("RightScript", id, err)
	}
	if s.Attachments, err = q.attachments(ctx, id); err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(inputs), &s.Inputs)
}

func (q *Queries) attachments(ctx context.Context, scriptID int64) (list []Attachment, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var a Attachment
		err := rows.Scan(&a.Filename, &a.Digest, &a.Size)
		list = append(list, a)
		return err
	}, `SELECT a.filename, a.digest, b.size FROM right_script_attachments a JOIN blobs b ON b.digest = a.digest
		WHERE a.right_script_id = ? ORDER BY a.id`, scriptID)
	return list, err
}
