// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (s *Server) healthCheck(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if s.draining.Load() {
		writeText(w, http.StatusServiceUnavailable, "this replica stops")
		return
	}
	if err := s.fleet.DB.Ping(ctx); err != nil {
		s.opt.Log.ErrorContext(ctx, "health check", "error", err)
		writeText(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	s.writeJSON(w, r, "", map[string]string{"status": "ok"})
}

// sessionsInstance shows an agent its own instance.
func (s *Server) sessionsInstance(w http.ResponseWriter, r *http.Request) {
	s.answer(func(c *call) (reply, error) {
		inst, server, err := c.fleet.Self(c.ctx(), session(r))
		if err != nil {
			return reply{}, err
		}
		one, err := c.instanceResource(inst, server, "default")
		if err != nil {
			return reply{}, err
		}
		return shown("instance", one)
	})(w, r)
}

// declareRequest is wire.DeclareRequest as servers must take it.
type declareRequest struct {
	RSVersion number `json:"r_s_version"`
	wire.DeclareRequest
}

func (s *Server) declare(w http.ResponseWriter, r *http.Request) {
	var req declareRequest
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	agentID, err := s.fleet.Declare(r.Context(), session(r), req.DeclareRequest)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", wire.DeclareResponse{AgentID: agentID})
}

func (s *Server) bootBundle(w http.ResponseWriter, r *http.Request) {
	var auditID int64
	if text := r.URL.Query().Get("audit_id"); text != "" {
		var err error
		if auditID, err = strconv.ParseInt(text, 10, 64); err != nil || auditID < 0 {
			s.fail(w, r, &parameterError{"audit_id is not a number"})
			return
		}
	}
	bundle, err := s.fleet.BootBundle(r.Context(), session(r), s.host(r), auditID)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", bundle)
}

func (s *Server) decommissionBundle(w http.ResponseWriter, r *http.Request) {
	bundle, err := s.fleet.DecommissionBundle(r.Context(), session(r), s.host(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", bundle)
}

// maxScriptIDs bounds a question about missing inputs.
const maxScriptIDs = 1000

func (s *Server) missingAttributes(w http.ResponseWriter, r *http.Request) {
	texts := r.URL.Query()["scripts_ids[]"]
	if len(texts) > maxScriptIDs {
		s.fail(w, r, &parameterError{"more than " + strconv.Itoa(maxScriptIDs) + " scripts_ids"})
		return
	}
	ids := make([]int64, len(texts))
	for i, text := range texts {
		var err error
		if ids[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			s.fail(w, r, &parameterError{"scripts_ids[] holds something that is not a number"})
			return
		}
	}
	scripts, err := s.fleet.MissingAttributes(r.Context(), session(r), s.host(r), ids)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", scripts)
}

func (s *Server) recordState(w http.ResponseWriter, r *http.Request) {
	var rec wire.StateRecord
	if err := readBody(r, &rec); err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.fleet.RecordState(r.Context(), session(r), rec); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// downloadTime bounds one attachment download, which may well take longer than
// any other answer.
const downloadTime = 30 * time.Minute

func (s *Server) attachment(w http.ResponseWriter, r *http.Request) {
	digest := chi.URLParam(r, "digest")
	token, ok := bearerToken(r)
	if !ok {
		// The original passes the token in the query as well.
		token = secret.String(r.URL.Query().Get("token"))
	}
	content, err := s.fleet.OpenAttachment(r.Context(), digest, token)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTime))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+digest+`"`)
	w.Header().Set("Cache-Control", "private")
	http.ServeContent(w, r, "", time.Time{}, content)
}
