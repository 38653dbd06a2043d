// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// AuditSearch selects entries; zero fields select all.
type AuditSearch struct {
	AccountID  int64
	From, To   time.Time
	Auditee    string
	Email      string // part of it, in any case
	ServerID   int64
	InstanceID int64
	Limit      int
}

// SearchAudit lists the selected entries, newest first.
func (q *Queries) SearchAudit(ctx context.Context, a AuditSearch) (list []AuditEntry, err error) {
	to := int64(1) << 62
	if !a.To.IsZero() {
		to = millis(a.To)
	}
	err = q.each(ctx, func(rows *sql.Rows) error {
		e, err := scanAudit(rows)
		list = append(list, e)
		return err
	}, auditColumns+`WHERE account_id = ? AND updated_at >= ? AND updated_at <= ? AND (auditee_href = ? OR ? = '') AND LOWER(user_email) LIKE ? ESCAPE '\'
		AND (server_id = ? OR ? = 0) AND (instance_id = ? OR ? = 0) ORDER BY id DESC LIMIT ?`,
		a.AccountID, millis(a.From), to, a.Auditee, a.Auditee, Page{Contains: a.Email}.like(), a.ServerID, a.ServerID, a.InstanceID, a.InstanceID, a.Limit)
	return list, err
}
