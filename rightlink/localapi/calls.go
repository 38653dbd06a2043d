// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package localapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// forward passes a call on to the platform.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		text(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	}
	err = s.agent.Forward(r.Context(), session.Forwarded{
		Method: r.Method, Path: strings.TrimPrefix(r.URL.EscapedPath(), "/api"), Query: r.URL.RawQuery, Header: r.Header, Body: body,
	}, w)
	if err != nil {
		s.log.Warn("passing a call on to the platform", "method", r.Method, "path", r.URL.Path, "error", err)
		fail(w, err) // without effect if the answer has begun
	}
}

// parameters come in the query, as rsc sends them, or as a form.
func parameters(r *http.Request) (url.Values, error) {
	values := r.URL.Query()
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if err := r.ParseForm(); err != nil {
			return nil, err
		}
		return r.Form, nil
	}
	return values, nil
}

func (s *Server) runScript(w http.ResponseWriter, r *http.Request) {
	values, err := parameters(r)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	req := wire.ScheduleRequest{RightScript: values.Get("right_script"), RightScriptID: values.Get("right_script_id"),
		Thread: values.Get("thread"), Policy: values.Get("policy"), Arguments: map[string]string{}}
	if req.RightScript == "" && req.RightScriptID == "" {
		text(w, http.StatusBadRequest, "right_script or right_script_id is missing")
		return
	}
	for key, list := range values {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(key, "]"), "arguments["); ok && len(list) > 0 {
			req.Arguments[name] = list[len(list)-1]
		}
	}
	href, err := s.agent.Schedule(r.Context(), req)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Location", href)
	text(w, http.StatusOK, "queued; the output goes to "+href)
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("exec") != "" {
		text(w, http.StatusUnprocessableEntity, "exec: this agent is upgraded from trusted packages only; give version=, or nothing for the newest")
		return
	}
	if err := s.agent.Upgrade(r.Context(), r.URL.Query().Get("version")); err != nil {
		fail(w, err)
		return
	}
	text(w, http.StatusOK, "the upgrade has begun; \"bootstrap status\" tells how it ends")
}

func (s *Server) loginControl(w http.ResponseWriter, r *http.Request) {
	mode := r.URL.Query().Get("enable_login")
	if mode != "on" && mode != "off" && mode != "compat" {
		text(w, http.StatusBadRequest, "enable_login wants on, off or compat")
		return
	}
	if err := s.agent.ManageLogin(r.Context(), mode); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// shutdown is ours; rs_shutdown uses it.
func (s *Server) shutdown(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if err := s.agent.Shutdown(r.Context(), q.Get("kind"), q.Get("immediately") == "true"); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// restart is ours; rs_reenroll uses it. The answer comes before the end.
func (s *Server) restart(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusNoContent)
	_ = http.NewResponseController(w).Flush()
	go s.agent.Restart(r.URL.Query().Get("reenrol") == "true")
}

// tags is ours; rs_tag uses it. It shows the instance's own tags, after adding
// and removing some.
func (s *Server) tags(w http.ResponseWriter, r *http.Request) {
	var change struct{ Add, Remove []string }
	if r.Method == http.MethodPut {
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			text(w, http.StatusBadRequest, `want a JSON body {"add": […], "remove": […]}`)
			return
		}
	}
	names, err := s.agent.Tags(r.Context(), change.Add, change.Remove)
	if err != nil {
		fail(w, err)
		return
	}
	text(w, http.StatusOK, strings.Join(names, "\n"))
}
