// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (s *Server) createAudit(w http.ResponseWriter, r *http.Request) {
	var req wire.AuditEntry
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	var id int64
	var err error
	if who := callerOf(r); who.agent != nil {
		id, err = s.fleet.CreateAudit(r.Context(), *who.agent, req)
	} else {
		id, err = s.fleet.CreateAuditAs(r.Context(), who.by(), req)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Location", auditHref(id))
	w.WriteHeader(http.StatusCreated)
}

func auditHref(id int64) string {
	return "/api" + wire.PathAuditEntries + "/" + strconv.FormatInt(id, 10)
}

// auditAppend is wire.AuditAppend as servers must take it: without an offset
// the text goes to the end.
type auditAppend struct {
	Summary string  `json:"summary"`
	Detail  string  `json:"detail"`
	Offset  *number `json:"offset"`
	Notify  string  `json:"notify"`
}

func (s *Server) appendAudit(w http.ResponseWriter, r *http.Request) {
	var req auditAppend
	id, err := idParam(r)
	if err == nil {
		err = readBody(r, &req)
	}
	if err == nil {
		patch := fleet.AuditPatch{Summary: req.Summary, Detail: req.Detail, Notify: req.Notify, Offset: (*int64)(req.Offset)}
		err = s.appendAs(r, id, patch)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) appendAs(r *http.Request, id int64, patch fleet.AuditPatch) error {
	if who := callerOf(r); who.agent == nil {
		return s.fleet.AppendAuditAs(r.Context(), who.by(), id, patch)
	}
	return s.fleet.AppendAudit(r.Context(), session(r), id, patch)
}

// auditOf finds an entry that the caller may see.
func (s *Server) auditOf(r *http.Request, id int64) (store.AuditEntry, error) {
	if who := callerOf(r); who.agent == nil {
		return s.fleet.AuditOf(r.Context(), who.AccountID, id)
	}
	return s.fleet.Audit(r.Context(), session(r), id)
}

// updateAudit replaces a summary.
func (c *call) updateAudit() (reply, error) {
	id, patch := c.id("id"), fleet.AuditPatch{Summary: c.p.sub("audit_entry").need("summary"), Notify: c.p.text("notify")}
	if c.p.has("offset") {
		offset := c.p.number("offset")
		patch.Offset = &offset
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.appendAs(c.r, id, patch))
}

func auditResource(e store.AuditEntry) resource {
	href := auditHref(e.ID)
	return object(resource{"summary": e.Summary, "user_email": e.UserEmail, "updated_at": wire.FormatTime(e.UpdatedAt), "detail_size": e.DetailSize},
		[]wire.Link{link("self", href), link("auditee", e.AuditeeHref), link("detail", href+"/detail")}, "append")
}

// auditEntries lists entries of a time, newest first.
func (c *call) auditEntries() (reply, error) {
	search := fleet.AuditSearch{From: c.p.date("start_date"), To: c.p.date("end_date"), Limit: int(min(c.p.number("limit"), fleet.MaxAudit))}
	c.p.need("limit")
	for _, f := range c.filters("auditee_href", "user_email") {
		switch {
		case f.not:
			c.p.wrong("filter[]", "name==text here")
		case f.name == "auditee_href":
			search.Auditee = f.value
		default:
			search.Email = f.value
		}
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	var entries []store.AuditEntry
	var err error
	if c.who.agent != nil {
		entries, err = c.fleet.SearchOwnAudit(c.ctx(), *c.who.agent, search)
	} else {
		entries, err = c.fleet.SearchAudit(c.ctx(), c.who.AccountID, search)
	}
	list := make([]resource, len(entries))
	for i, e := range entries {
		list[i] = auditResource(e)
	}
	return reply{status: http.StatusOK, media: "audit_entry", collection: true, body: list}, err
}

// date reads a time as API 1.5 writes it.
func (p *params) date(field string) time.Time {
	text := p.need(field)
	if text == "" {
		return time.Time{}
	}
	for _, form := range []string{wire.TimeFormat, time.RFC3339} {
		if t, err := time.Parse(form, text); err == nil {
			return t
		}
	}
	p.wrong(field, "a time such as 2026/01/31 00:00:00 +0000")
	return time.Time{}
}

func (s *Server) showAudit(w http.ResponseWriter, r *http.Request) {
	var e store.AuditEntry
	id, err := idParam(r)
	if err == nil {
		e, err = s.auditOf(r, id)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "audit_entry", auditResource(e))
}

func (s *Server) auditDetail(w http.ResponseWriter, r *http.Request) {
	var text string
	id, err := idParam(r)
	if err == nil {
		if who := callerOf(r); who.agent == nil {
			text, err = s.fleet.AuditDetailOf(r.Context(), who.AccountID, id)
		} else {
			text, err = s.fleet.AuditDetail(r.Context(), *who.agent, id)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(text))
}

func idParam(r *http.Request) (int64, error) {
	text := chi.URLParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, &parameterError{"the id in the path is not a number"}
	}
	return id, nil
}
