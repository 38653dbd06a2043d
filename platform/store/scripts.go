// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"crypto/md5"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// CreateRightScript stores a script without attachments and returns its id.
func (q *Queries) CreateRightScript(ctx context.Context, s RightScript, now time.Time) (int64, error) {
	inputs, err := json.Marshal(s.Inputs)
	if err != nil {
		return 0, err
	}
	return q.insert(ctx, `INSERT INTO right_scripts (account_id, name, revision, lineage_id, commit_message, description, source, packages, inputs, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		s.AccountID, s.Name, s.Revision, s.LineageID, s.CommitMessage, s.Description, s.Source, s.Packages, string(inputs), millis(now), millis(now))
}

// UpdateRightScript writes what a script says and does.
func (q *Queries) UpdateRightScript(ctx context.Context, s RightScript, now time.Time) error {
	inputs, err := json.Marshal(s.Inputs)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE right_scripts SET name = ?, description = ?, source = ?, packages = ?, inputs = ?, updated_at = ? WHERE id = ?`,
		s.Name, s.Description, s.Source, s.Packages, string(inputs), millis(now), s.ID)
	return err
}

// RightScripts lists the scripts of an account by name and revision, without
// source and attachments.
func (q *Queries) RightScripts(ctx context.Context, account int64) (list []RightScript, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		s := RightScript{AccountID: account}
		err := rows.Scan(&s.ID, &s.Name, &s.Revision, &s.LineageID, &s.Description, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
		list = append(list, s)
		return err
	}, `SELECT id, name, revision, lineage_id, description, created_at, updated_at FROM right_scripts WHERE account_id = ? ORDER BY name, revision`, account)
	return list, err
}

// LastRevision is the highest revision of a script's, template's or image's
// name in an account.
func (q *Queries) LastRevision(ctx context.Context, table Table, account int64, name string) (n int, err error) {
	err = q.row(ctx, `SELECT COALESCE(MAX(revision), 0) FROM `+string(table)+` WHERE account_id = ? AND name = ?`, account, name).Scan(&n)
	return n, err
}

// Table names a table of things with revisions.
type Table string

// The tables of things with revisions.
const (
	TableRightScripts     Table = "right_scripts"
	TableServerTemplates  Table = "server_templates"
	TableMultiCloudImages Table = "multi_cloud_images"
)

// CountBindings counts the places at which ServerTemplates name a script.
func (q *Queries) CountBindings(ctx context.Context, scriptID int64) (n int, err error) {
	err = q.row(ctx, `SELECT COUNT(*) FROM runnable_bindings WHERE right_script_id = ?`, scriptID).Scan(&n)
	return n, err
}

// DeleteRightScript removes a script with its attachments.
func (q *Queries) DeleteRightScript(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM right_scripts WHERE id = ?`, id)
	return err
}

// ScriptFile is an attachment with what API 1.5 tells of it.
type ScriptFile struct {
	ID, ScriptID int64
	Filename     string
	Blob
	MD5       string // "" when it is not known yet
	CreatedAt time.Time
}

const fileColumns = `SELECT a.id, a.right_script_id, a.filename, a.digest, b.size, b.md5, b.created_at
	FROM right_script_attachments a JOIN blobs b ON b.digest = a.digest `

func scanFile(row scanner) (f ScriptFile, err error) {
	err = row.Scan(&f.ID, &f.ScriptID, &f.Filename, &f.Digest, &f.Size, &f.MD5, stamp{&f.CreatedAt})
	return f, err
}

// ScriptFile finds an attachment of a script by id.
func (q *Queries) ScriptFile(ctx context.Context, scriptID, id int64) (ScriptFile, error) {
	f, err := scanFile(q.row(ctx, fileColumns+`WHERE a.right_script_id = ? AND a.id = ?`, scriptID, id))
	return f, one("RightScriptAttachment", id, err)
}

// ScriptFiles lists the attachments of a script.
func (q *Queries) ScriptFiles(ctx context.Context, scriptID int64) ([]ScriptFile, error) {
	return listed(ctx, q, scanFile, fileColumns+`WHERE a.right_script_id = ? ORDER BY a.id`, scriptID)
}

// AddScriptFile attaches stored content to a script.
func (q *Queries) AddScriptFile(ctx context.Context, scriptID int64, filename, digest string) (int64, error) {
	id, err := q.insert(ctx, `INSERT INTO right_script_attachments (right_script_id, filename, digest) VALUES (?, ?, ?) RETURNING id`, scriptID, filename, digest)
	if err != nil {
		return 0, fmt.Errorf("store attachment %q: %w", filename, err)
	}
	return id, nil
}

// DeleteScriptFile takes an attachment off its script; DropUnusedBlobs removes
// the content.
func (q *Queries) DeleteScriptFile(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM right_script_attachments WHERE id = ?`, id)
	return err
}

// SumBlob computes the MD5 of stored content and keeps it.
func (q *Queries) SumBlob(ctx context.Context, b Blob) (string, error) {
	h := md5.New()
	if _, err := io.Copy(h, q.OpenBlob(ctx, b)); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	return sum, q.SetBlobSum(ctx, b.Digest, sum)
}

// SetBlobSum keeps the MD5 of stored content.
func (q *Queries) SetBlobSum(ctx context.Context, digest, sum string) error {
	_, err := q.exec(ctx, `UPDATE blobs SET md5 = ? WHERE digest = ?`, sum, digest)
	return err
}
