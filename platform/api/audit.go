// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net/http"
	"strconv"

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
	id, err := s.fleet.CreateAudit(r.Context(), session(r), req)
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
		err = s.fleet.AppendAudit(r.Context(), session(r), id, patch)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) showAudit(w http.ResponseWriter, r *http.Request) {
	var e store.AuditEntry
	id, err := idParam(r)
	if err == nil {
		e, err = s.fleet.Audit(r.Context(), session(r), id)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	href := auditHref(e.ID)
	s.writeJSON(w, r, "audit_entry", map[string]any{
		"summary": e.Summary, "user_email": e.UserEmail, "updated_at": wire.FormatTime(e.UpdatedAt), "detail_size": e.DetailSize,
		"links": []wire.Link{
			{Rel: "self", Href: href}, {Rel: "auditee", Href: e.AuditeeHref}, {Rel: "detail", Href: href + "/detail"},
		},
		"actions": []map[string]string{{"rel": "append"}},
	})
}

func (s *Server) auditDetail(w http.ResponseWriter, r *http.Request) {
	var text string
	id, err := idParam(r)
	if err == nil {
		text, err = s.fleet.AuditDetail(r.Context(), session(r), id)
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
