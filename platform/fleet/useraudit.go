// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// CreateAuditAs makes an entry for a person, about anything of the account.
func (s *Service) CreateAuditAs(ctx context.Context, by By, req wire.AuditEntry) (id int64, err error) {
	if err := checkNotify(req.Notify); err != nil {
		return 0, err
	}
	if req.Entry.Summary == "" {
		return 0, invalid("audit_entry[summary] is missing")
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		r, err := find(ctx, q, by.Account, req.Entry.AuditeeHref)
		if err != nil {
			return err
		}
		id, err = s.addEntry(ctx, q, store.AuditEntry{
			AccountID: by.Account, ServerID: r.serverID, InstanceID: r.instanceID, AuditeeHref: r.href,
			Summary: cutSummary(req.Entry.Summary), UserEmail: clip(printable(by.Who), 255), Notify: orNone(req.Notify),
		}, req.Entry.Detail)
		return err
	})
	return id, err
}

// entryOf finds an entry of an account.
func entryOf(ctx context.Context, q *store.Queries, account, id int64) (store.AuditEntry, error) {
	e, err := q.AuditEntry(ctx, id)
	if err == nil && e.AccountID != account {
		return store.AuditEntry{}, fmt.Errorf("audit entry %d: %w", id, store.ErrNotFound)
	}
	return e, err
}

// AppendAuditAs adds to an entry of the account.
func (s *Service) AppendAuditAs(ctx context.Context, by By, id int64, p AuditPatch) error {
	return s.appendAudit(ctx, 0, p, func(ctx context.Context, q *store.Queries) (store.AuditEntry, error) {
		return entryOf(ctx, q, by.Account, id)
	})
}

// AuditOf returns an entry of an account.
func (s *Service) AuditOf(ctx context.Context, account, id int64) (store.AuditEntry, error) {
	return entryOf(ctx, &s.DB.Queries, account, id)
}

// AuditDetailOf returns the whole detail text of an entry of an account.
func (s *Service) AuditDetailOf(ctx context.Context, account, id int64) (string, error) {
	if _, err := s.AuditOf(ctx, account, id); err != nil {
		return "", err
	}
	return s.detail(ctx, id)
}

// AuditSearch selects entries; zero fields select all.
type AuditSearch struct {
	From, To time.Time
	Limit    int
	// Auditee is the href that entries are about; those about the instances of a
	// server are about the server too.
	Auditee    string
	Email      string // part of it
	InstanceID int64
}

// MaxAudit bounds the entries of one answer.
const MaxAudit = 1000

// SearchAudit lists entries of an account, newest first.
func (s *Service) SearchAudit(ctx context.Context, account int64, a AuditSearch) ([]store.AuditEntry, error) {
	if a.Limit < 1 || a.Limit > MaxAudit {
		return nil, invalid("limit %d: want 1 to %d", a.Limit, MaxAudit)
	}
	if a.To.Before(a.From) {
		return nil, invalid("end_date is before start_date")
	}
	search := store.AuditSearch{AccountID: account, From: a.From, To: a.To, Limit: a.Limit, Auditee: a.Auditee, Email: a.Email, InstanceID: a.InstanceID}
	if a.Auditee != "" {
		if r, err := find(ctx, &s.DB.Queries, account, a.Auditee); err == nil && r.serverID != 0 && r.instanceID == 0 {
			search.Auditee, search.ServerID = "", r.serverID
		}
	}
	return s.DB.SearchAudit(ctx, search)
}

// SearchOwnAudit is SearchAudit for an agent: entries about itself alone.
func (s *Service) SearchOwnAudit(ctx context.Context, sess Session, a AuditSearch) ([]store.AuditEntry, error) {
	_, server, err := s.Self(ctx, sess)
	if err != nil {
		return nil, err
	}
	a.InstanceID = sess.Token.InstanceID
	return s.SearchAudit(ctx, server.AccountID, a)
}
