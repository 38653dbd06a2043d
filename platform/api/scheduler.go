// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// scheduleRequest is wire.ScheduleRequest as servers must take it. audit_id,
// formal_values, policy and audit_period are taken and not used: each run has
// an audit entry of its own.
type scheduleRequest struct {
	RightScript   string            `json:"right_script"`
	RightScriptID number            `json:"right_script_id"`
	Arguments     map[string]string `json:"arguments"`
	Thread        string            `json:"thread"`
}

func (s *Server) scheduleScript(w http.ResponseWriter, r *http.Request) {
	var req scheduleRequest
	err := readBody(r, &req)
	if err == nil && req.RightScript == "" && req.RightScriptID == 0 {
		err = &parameterError{"right_script or right_script_id is missing"}
	}
	run := fleet.RunRequest{Script: req.RightScript, ScriptID: int64(req.RightScriptID), Thread: req.Thread, Inputs: map[string]rightscript.Value{}}
	for name, text := range req.Arguments {
		value, verr := rightscript.ParseValue(text)
		if verr != nil && err == nil {
			err = &parameterError{"arguments[" + clip(name) + "]: " + verr.Error()}
		}
		run.Inputs[name] = value
	}
	var auditID int64
	if err == nil {
		auditID, err = s.fleet.RunOwnScript(r.Context(), session(r), run)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.hub.Wake(session(r).Token.InstanceID)
	w.Header().Set("Location", auditHref(auditID)) // our addition: where the output will be
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) scheduleRecipe(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &fleet.InvalidError{Text: "this platform runs RightScripts, not recipes"})
}

func (s *Server) shutdown(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Kind string `json:"kind"`
	}
	err := readBody(r, &req)
	if err == nil {
		err = s.fleet.ShutdownSelf(r.Context(), session(r), req.Kind)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.hub.Wake(session(r).Token.InstanceID)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) repositories(w http.ResponseWriter, r *http.Request) {
	bundle, err := s.fleet.Repositories(r.Context(), session(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", bundle)
}

func (s *Server) loginPolicy(w http.ResponseWriter, r *http.Request) {
	policy, err := s.fleet.LoginPolicy(r.Context(), session(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", policy)
}

// flag is a truth value that clients send as such or as text.
type flag bool

// UnmarshalJSON reads true, "true" and "1"; all else is false.
func (f *flag) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	*f = flag(text == "true" || text == "1")
	return nil
}

// tagsRequest is wire.TagsRequest as servers must take it.
type tagsRequest struct {
	ResourceHrefs []string        `json:"resource_hrefs"`
	Tags          []string        `json:"tags"`
	ResourceType  string          `json:"resource_type"`
	MatchAll      flag            `json:"match_all"`
	Prefix        json.RawMessage `json:"include_tags_with_prefix"` // text, or null
	WithDeleted   flag            `json:"with_deleted"`
}

// maxHrefs bounds a call about tags.
const maxHrefs = 1000

func readTags(r *http.Request, needHrefs bool) (req tagsRequest, err error) {
	if err = readBody(r, &req); err != nil {
		return req, err
	}
	if needHrefs && (len(req.ResourceHrefs) == 0 || len(req.ResourceHrefs) > maxHrefs) {
		return req, &parameterError{"resource_hrefs: want 1 to " + strconv.Itoa(maxHrefs) + " hrefs"}
	}
	return req, nil
}

func (s *Server) changeTags(remove bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := readTags(r, true)
		if err == nil {
			if who := callerOf(r); who.agent == nil {
				err = s.fleet.ChangeTagsAs(r.Context(), who.by(), req.ResourceHrefs, req.Tags, remove)
			} else {
				err = s.fleet.ChangeTags(r.Context(), *who.agent, req.ResourceHrefs, req.Tags, remove)
			}
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) tagsByResource(w http.ResponseWriter, r *http.Request) {
	req, err := readTags(r, true)
	var list []wire.TaggedResource
	if err == nil {
		if who := callerOf(r); who.agent == nil {
			list, err = s.fleet.TagsOfAccount(r.Context(), who.AccountID, req.ResourceHrefs)
		} else {
			list, err = s.fleet.TagsOf(r.Context(), *who.agent, req.ResourceHrefs)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "resource_tag", list)
}

func (s *Server) tagsByTag(w http.ResponseWriter, r *http.Request) {
	req, err := readTags(r, false)
	var list []wire.TaggedResource
	if err == nil {
		var prefix string
		_ = json.Unmarshal(req.Prefix, &prefix) // null, false and absence mean none
		query := fleet.TagQuery{Tags: req.Tags, Type: req.ResourceType, MatchAll: bool(req.MatchAll), Prefix: prefix, WithDeleted: bool(req.WithDeleted)}
		if who := callerOf(r); who.agent == nil {
			list, err = s.fleet.ByTagOfAccount(r.Context(), who.AccountID, query)
		} else {
			list, err = s.fleet.ByTag(r.Context(), *who.agent, query)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "resource_tag", list)
}
