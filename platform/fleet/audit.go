// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// MaxDetail bounds the detail text of one entry. A script that prints without
// end must not fill the database; what comes after is dropped.
const MaxDetail = 16 << 20

// note writes an entry of the platform's own, on the instance when there is
// one, else on the server.
func (s *Service) note(ctx context.Context, q *store.Queries, server store.Server, instanceID int64, summary, detail string) error {
	return s.noteBy(ctx, q, "", server, instanceID, summary, detail)
}

// noteBy is note for what somebody has done.
func (s *Service) noteBy(ctx context.Context, q *store.Queries, who string, server store.Server, instanceID int64, summary, detail string) error {
	return s.noteAs(ctx, q, server, instanceID, store.AuditEntry{Summary: summary, UserEmail: who, Notify: "None"}, detail)
}

// noteAs writes an entry about a server or its instance that says the rest
// itself.
func (s *Service) noteAs(ctx context.Context, q *store.Queries, server store.Server, instanceID int64, e store.AuditEntry, detail string) error {
	e.AccountID, e.ServerID, e.InstanceID, e.AuditeeHref = server.AccountID, server.ID, instanceID, ServerHref(server.ID)
	e.Summary, e.UserEmail = cutSummary(e.Summary), clip(printable(e.UserEmail), 255)
	if instanceID != 0 {
		inst, err := q.Instance(ctx, instanceID)
		if err != nil {
			return err
		}
		e.AuditeeHref = InstanceHref(inst)
	}
	_, err := s.addEntry(ctx, q, e, detail)
	return err
}

func (s *Service) addEntry(ctx context.Context, q *store.Queries, e store.AuditEntry, detail string) (int64, error) {
	id, err := q.CreateAuditEntry(ctx, e, s.Now())
	if err != nil {
		return 0, fmt.Errorf("create audit entry: %w", err)
	}
	e.ID = id
	return id, s.addDetail(ctx, q, e, 0, detail)
}

// CreateAudit makes an entry for an agent, about itself or its server.
func (s *Service) CreateAudit(ctx context.Context, sess Session, req wire.AuditEntry) (id int64, err error) {
	if err := checkNotify(req.Notify); err != nil {
		return 0, err
	}
	err = s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := self(ctx, q, sess)
		if err != nil {
			return err
		}
		href := req.Entry.AuditeeHref
		if href != InstanceHref(inst) && href != ServerHref(server.ID) {
			return refused("auditee_href %q is neither this instance (%s) nor its server", clip(href, 80), InstanceHref(inst))
		}
		id, err = s.addEntry(ctx, q, store.AuditEntry{
			AccountID: server.AccountID, ServerID: server.ID, InstanceID: inst.ID, AuditeeHref: href,
			Summary: cutSummary(req.Entry.Summary), UserEmail: clip(printable(req.UserEmail), 255), Notify: orNone(req.Notify),
		}, req.Entry.Detail)
		return err
	})
	return id, err
}

// AuditPatch is an append: what to add where. A nil Offset means the end.
type AuditPatch struct {
	Summary string
	Detail  string
	Offset  *int64
	Notify  string
}

// AppendAudit adds to an entry. The offset makes it safe to send the same
// append again, and appends may even arrive out of order.
func (s *Service) AppendAudit(ctx context.Context, sess Session, id int64, p AuditPatch) error {
	return s.appendAudit(ctx, sess.Token.ServerID, p, func(ctx context.Context, q *store.Queries) (store.AuditEntry, error) {
		return ownEntry(ctx, q, sess, id)
	})
}

// appendAudit adds to the entry that look finds, of one server, or of any for 0.
func (s *Service) appendAudit(ctx context.Context, server int64, p AuditPatch, look func(context.Context, *store.Queries) (store.AuditEntry, error)) error {
	if err := checkNotify(p.Notify); err != nil {
		return err
	}
	if p.Offset != nil && *p.Offset < 0 {
		return invalid("offset %d is negative", *p.Offset)
	}
	return s.DB.InTxOf(ctx, server, func(q *store.Queries) error {
		e, err := look(ctx, q)
		if err != nil {
			return err
		}
		if p.Summary != "" {
			e.Summary, e.Notify = cutSummary(p.Summary), orNone(p.Notify)
		}
		offset := e.DetailSize
		if p.Offset != nil {
			offset = *p.Offset
		}
		return s.addDetail(ctx, q, e, offset, p.Detail)
	})
}

// addDetail stores those bytes of text that are not stored yet, and the entry
// itself with its new size.
func (s *Service) addDetail(ctx context.Context, q *store.Queries, e store.AuditEntry, offset int64, text string) error {
	end := min(offset+int64(len(text)), MaxDetail)
	if offset < end {
		taken, err := q.DetailExtents(ctx, e.ID, offset, end)
		if err != nil {
			return err
		}
		at := offset
		for _, t := range append(taken, store.Extent{Start: end, End: end}) {
			if at < t.Start {
				part := store.DetailPart{Position: at, Content: []byte(text[at-offset : t.Start-offset])}
				if err := q.AddDetailPart(ctx, e.ID, part); err != nil {
					return err
				}
			}
			at = max(at, t.End)
		}
		e.DetailSize = max(e.DetailSize, end)
	}
	return q.UpdateAuditEntry(ctx, e, s.Now())
}

// AuditDetail returns the whole detail text of an agent's own entry.
func (s *Service) AuditDetail(ctx context.Context, sess Session, id int64) (string, error) {
	if _, err := ownEntry(ctx, &s.DB.Queries, sess, id); err != nil {
		return "", err
	}
	return s.detail(ctx, id)
}

// Audit returns an agent's own entry.
func (s *Service) Audit(ctx context.Context, sess Session, id int64) (store.AuditEntry, error) {
	return ownEntry(ctx, &s.DB.Queries, sess, id)
}

// detail joins the stored parts; a hole is shown where a part is missing.
func (s *Service) detail(ctx context.Context, id int64) (string, error) {
	parts, err := s.DB.DetailParts(ctx, id)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	at := int64(0)
	for _, p := range parts {
		if p.Position > at {
			fmt.Fprintf(&b, "\n[%d bytes did not arrive]\n", p.Position-at)
		}
		b.Write(p.Content)
		at = p.Position + int64(len(p.Content))
	}
	if at >= MaxDetail {
		b.WriteString("\n[the rest was dropped: an audit entry holds at most 16 MiB]\n")
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD"), nil
}

// ownEntry finds an entry and hides those of others.
func ownEntry(ctx context.Context, q *store.Queries, sess Session, id int64) (store.AuditEntry, error) {
	e, err := q.AuditEntry(ctx, id)
	if err != nil {
		return e, err
	}
	if e.InstanceID != sess.Token.InstanceID {
		return store.AuditEntry{}, fmt.Errorf("audit entry %d: %w", id, store.ErrNotFound)
	}
	return e, nil
}

func checkNotify(s string) error {
	if !slices.Contains([]string{"", "None", "Notification", "Security", "Error"}, s) {
		return invalid("notify %q: want None, Notification, Security or Error", clip(s, 40))
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "None"
	}
	return s
}

// cutSummary brings a summary to one line of at most wire.MaxSummary bytes.
func cutSummary(s string) string {
	s = printable(s)
	if len(s) <= wire.MaxSummary {
		return s
	}
	cut := wire.MaxSummary - len("...")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// printable drops what could forge lines or drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}
