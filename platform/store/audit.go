// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// AuditEntry is one entry of the audit trail; its detail text is kept apart.
type AuditEntry struct {
	ID, AccountID int64
	ServerID      int64 // 0 for none
	InstanceID    int64 // 0 for none
	AuditeeHref   string
	Summary       string
	UserEmail     string
	Notify        string
	DetailSize    int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// CreateAuditEntry stores an entry without detail and returns its id.
func (q *Queries) CreateAuditEntry(ctx context.Context, e AuditEntry, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO audit_entries (account_id, server_id, instance_id, auditee_href, summary, user_email, notify, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`, e.AccountID, nullID(e.ServerID), nullID(e.InstanceID), e.AuditeeHref, e.Summary, e.UserEmail, e.Notify, millis(now), millis(now))
}

func nullID(id int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != 0} }

// UpdateAuditEntry writes a new summary and the size of the detail.
func (q *Queries) UpdateAuditEntry(ctx context.Context, e AuditEntry, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE audit_entries SET summary = ?, notify = ?, detail_size = ?, updated_at = ? WHERE id = ?`, e.Summary, e.Notify, e.DetailSize, millis(now), e.ID)
	return err
}

const auditColumns = `SELECT id, account_id, server_id, instance_id, auditee_href, summary, user_email, notify, detail_size, created_at, updated_at FROM audit_entries `

func scanAudit(row scanner) (e AuditEntry, err error) {
	var server, instance sql.NullInt64
	err = row.Scan(&e.ID, &e.AccountID, &server, &instance, &e.AuditeeHref, &e.Summary, &e.UserEmail, &e.Notify, &e.DetailSize, stamp{&e.CreatedAt}, stamp{&e.UpdatedAt})
	e.ServerID, e.InstanceID = server.Int64, instance.Int64
	return e, err
}

// AuditEntry finds an entry by id.
func (q *Queries) AuditEntry(ctx context.Context, id int64) (AuditEntry, error) {
	e, err := scanAudit(q.row(ctx, auditColumns+`WHERE id = ?`, id))
	return e, one("audit entry", id, err)
}

// AuditFilter selects entries; zero fields select all.
type AuditFilter struct {
	AccountID int64
	ServerID  int64
	AfterID   int64
	Limit     int // the newest; 0 for all
}

// AuditEntries lists the selected entries, oldest first.
func (q *Queries) AuditEntries(ctx context.Context, f AuditFilter) (list []AuditEntry, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 1 << 30
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		e, err := scanAudit(rows)
		list = append(list, e)
		return err
	}, `SELECT * FROM (`+auditColumns+`WHERE account_id = ? AND (server_id = ? OR CAST(? AS BIGINT) = 0) AND id > ? ORDER BY id DESC LIMIT ?) AS newest ORDER BY id`,
		f.AccountID, f.ServerID, f.ServerID, f.AfterID, limit)
	return list, err
}

// CountAuditEntries counts the entries of a server and its instances.
func (q *Queries) CountAuditEntries(ctx context.Context, serverID int64) (n int, err error) {
	err = q.row(ctx, `SELECT COUNT(*) FROM audit_entries WHERE server_id = ?`, serverID).Scan(&n)
	return n, err
}

// DetailPart is a stretch of an entry's detail text.
type DetailPart struct {
	Position int64
	Content  []byte
}

// DetailParts lists the stored stretches of a detail text in order.
func (q *Queries) DetailParts(ctx context.Context, entryID int64) (list []DetailPart, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var p DetailPart
		err := rows.Scan(&p.Position, &p.Content)
		list = append(list, p)
		return err
	}, `SELECT position, content FROM audit_details WHERE audit_entry_id = ? ORDER BY position`, entryID)
	return list, err
}

// Extent is the place of a stretch without its content.
type Extent struct{ Start, End int64 }

// DetailExtents lists the stretches that touch [start, end) in order.
func (q *Queries) DetailExtents(ctx context.Context, entryID, start, end int64) (list []Extent, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var e Extent
		err := rows.Scan(&e.Start, &e.End)
		list = append(list, e)
		return err
	}, `SELECT position, position + LENGTH(content) FROM audit_details
		WHERE audit_entry_id = ? AND position < ? AND position + LENGTH(content) > ? ORDER BY position`, entryID, end, start)
	return list, err
}

// AddDetailPart stores a stretch that overlaps no other.
func (q *Queries) AddDetailPart(ctx context.Context, entryID int64, p DetailPart) error {
	_, err := q.exec(ctx, `INSERT INTO audit_details (audit_entry_id, position, content) VALUES (?, ?, ?)`, entryID, p.Position, p.Content)
	return err
}

// HasAuditSince tells whether a server has an entry of that summary since a
// time.
func (q *Queries) HasAuditSince(ctx context.Context, serverID int64, summary string, since time.Time) (bool, error) {
	var n int
	err := q.row(ctx, `SELECT COUNT(*) FROM audit_entries WHERE server_id = ? AND summary = ? AND created_at >= ?`, serverID, summary, millis(since)).Scan(&n)
	return n > 0, err
}
