// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"strings"
)

// Page selects a stretch of a list by name: what a person looks at, however
// many rows there are.
type Page struct {
	// Contains is part of the name, in any case; empty for all.
	Contains string
	// State selects one state; empty for all.
	State         string
	Limit, Offset int
}

// like is the pattern for LIKE … ESCAPE '\'.
func (p Page) like() string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(p.Contains)) + "%"
}

const pageOfServers = `WHERE account_id = ? AND LOWER(name) LIKE ? ESCAPE '\' AND (state = ? OR ? = '') `

// ServersPage lists the selected servers by name, and tells how many there are
// in all pages.
func (q *Queries) ServersPage(ctx context.Context, account int64, p Page) (list []Server, total int, err error) {
	args := []any{account, p.like(), p.State, p.State}
	if err := q.row(ctx, `SELECT COUNT(*) FROM servers `+pageOfServers, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		s, err := scanServer(rows)
		list = append(list, s)
		return err
	}, serverColumns+pageOfServers+`ORDER BY name LIMIT ? OFFSET ?`, append(args, p.Limit, p.Offset)...)
	return list, total, err
}

// Owner selects instances by whether a server has them.
type Owner string

// The owners of instances.
const (
	OwnerAny    Owner = ""
	OwnerServer Owner = "managed"
	OwnerNobody Owner = "raw"
)

const pageOfInstances = `WHERE account_id = ? AND (declared_at > 0 OR resource_uid <> '')
	AND (LOWER(name) LIKE ? ESCAPE '\' OR LOWER(resource_uid) LIKE ? ESCAPE '\' OR LOWER(image_uid) LIKE ? ESCAPE '\' OR server_id IN (SELECT id FROM servers WHERE LOWER(name) LIKE ? ESCAPE '\'))
	AND (state = ? OR ? = '')
	AND (? = '' OR (? = 'raw' AND server_id IS NULL) OR (? = 'managed' AND server_id IS NOT NULL)) `

// InstancesPage lists the selected instances, newest first. The text is part of
// the name, of the cloud's id, of the image or of the server's name.
func (q *Queries) InstancesPage(ctx context.Context, account int64, p Page, owner Owner) (list []Instance, total int, err error) {
	text := p.like()
	args := []any{account, text, text, text, text, p.State, p.State, string(owner), string(owner), string(owner)}
	if err := q.row(ctx, `SELECT COUNT(*) FROM instances `+pageOfInstances, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	list, err = q.instances(ctx, pageOfInstances+`ORDER BY id DESC LIMIT ? OFFSET ?`, append(args, p.Limit, p.Offset)...)
	return list, total, err
}

// InstanceByUID finds an instance by the opaque id of its href.
func (q *Queries) InstanceByUID(ctx context.Context, account int64, uid string) (Instance, error) {
	i, err := scanInstance(q.row(ctx, instanceColumns+`WHERE account_id = ? AND uid = ?`, account, uid))
	return i, one("instance", uid, err)
}

// StateCount is how many things are in a state.
type StateCount struct {
	State string
	Count int
}

// ServerStates counts the servers of an account by state.
func (q *Queries) ServerStates(ctx context.Context, account int64) ([]StateCount, error) {
	return q.states(ctx, `SELECT state, COUNT(*) FROM servers WHERE account_id = ? GROUP BY state ORDER BY state`, account)
}

// InstanceStates counts the living instances of an account by state.
func (q *Queries) InstanceStates(ctx context.Context, account int64) ([]StateCount, error) {
	return q.states(ctx, `SELECT state, COUNT(*) FROM instances WHERE account_id = ? AND ended_at = 0 AND (declared_at > 0 OR resource_uid <> '')
		GROUP BY state ORDER BY state`, account)
}

func (q *Queries) states(ctx context.Context, query string, args ...any) (list []StateCount, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var c StateCount
		err := rows.Scan(&c.State, &c.Count)
		list = append(list, c)
		return err
	}, query, args...)
	return list, err
}

// AuditPage selects audit entries for reading backwards in time.
type AuditPage struct {
	AccountID  int64
	ServerID   int64 // 0 for all
	InstanceID int64 // 0 for all
	// Contains is part of the summary, in any case.
	Contains string
	// Before is an entry's id: only older ones are listed; 0 for the newest.
	Before int64
	Limit  int
}

// AuditBackwards lists the selected entries, newest first.
func (q *Queries) AuditBackwards(ctx context.Context, p AuditPage) (list []AuditEntry, err error) {
	before := p.Before
	if before <= 0 {
		before = 1 << 62
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		e, err := scanAudit(rows)
		list = append(list, e)
		return err
	}, auditColumns+`WHERE account_id = ? AND (server_id = ? OR CAST(? AS BIGINT) = 0) AND (instance_id = ? OR CAST(? AS BIGINT) = 0) AND LOWER(summary) LIKE ? ESCAPE '\' AND id < ?
		ORDER BY id DESC LIMIT ?`, p.AccountID, p.ServerID, p.ServerID, p.InstanceID, p.InstanceID, Page{Contains: p.Contains}.like(), before, p.Limit)
	return list, err
}

// DetailPartsFrom lists the stretches of a detail text that reach beyond an
// offset, in order, at most limit of them.
func (q *Queries) DetailPartsFrom(ctx context.Context, entryID, from int64, limit int) (list []DetailPart, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var p DetailPart
		err := rows.Scan(&p.Position, &p.Content)
		list = append(list, p)
		return err
	}, `SELECT position, content FROM audit_details WHERE audit_entry_id = ? AND position + LENGTH(content) > ? ORDER BY position LIMIT ?`, entryID, from, limit)
	return list, err
}

const pageOfImages = `WHERE cloud_id = ? AND gone_at = 0 AND (LOWER(name) LIKE ? ESCAPE '\' OR LOWER(resource_uid) LIKE ? ESCAPE '\') `

// ImagesPage lists the selected images that a cloud has, by name.
func (q *Queries) ImagesPage(ctx context.Context, cloudID int64, p Page) (list []Image, total int, err error) {
	args := []any{cloudID, p.like(), p.like()}
	if err := q.row(ctx, `SELECT COUNT(*) FROM images `+pageOfImages, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		i, err := scanImage(rows)
		list = append(list, i)
		return err
	}, imageColumns+pageOfImages+`ORDER BY name, id LIMIT ? OFFSET ?`, append(args, p.Limit, p.Offset)...)
	return list, total, err
}
