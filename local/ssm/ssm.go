// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ssm serves the Parameter Store of the local cloud: JSON in, JSON out,
// the action in a header.
package ssm

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Service answers Parameter Store calls from a store.
type Service struct {
	Store   *store.Store
	Account string
	Log     *slog.Logger
}

// handler carries out one action.
type handler func(*request) (any, error)

// request is one call; its body is read by into.
type request struct{ *call.Call }

func (s *Service) actions() map[string]handler {
	return map[string]handler{
		"PutParameter":           s.putParameter,
		"GetParameter":           s.getParameter,
		"GetParameters":          s.getParameters,
		"GetParametersByPath":    s.getParametersByPath,
		"GetParameterHistory":    s.getParameterHistory,
		"DeleteParameter":        s.deleteParameter,
		"DeleteParameters":       s.deleteParameters,
		"DescribeParameters":     s.describeParameters,
		"AddTagsToResource":      s.addTags,
		"RemoveTagsFromResource": s.removeTags,
		"ListTagsForResource":    s.listTags,
	}
}

// Action reads the action of a JSON 1.1 request from its target header.
func Action(h http.Header) string {
	target := h.Get("X-Amz-Target")
	return target[strings.LastIndexByte(target, '.')+1:]
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, c *call.Call) {
	act, ok := s.actions()[c.Action]
	if !ok {
		WriteError(w, c, call.Errorf("UnsupportedOperation", "The local cloud does not support the action %s of SSM. docs/local.md lists what it supports.", c.Action))
		return
	}
	out, err := act(&request{c})
	if err != nil {
		WriteError(w, c, s.refusal(c, err))
		return
	}
	write(w, c, http.StatusOK, out)
}

func (s *Service) refusal(c *call.Call, err error) *call.Error {
	var refused *call.Error
	if errors.As(err, &refused) {
		return refused
	}
	s.Log.Error("SSM call broke", "action", c.Action, "region", c.Region, "error", err)
	return call.Errorf("InternalServerError", "%v", err).WithStatus(http.StatusInternalServerError)
}

// into reads the body. A field that is not in the struct is one that would do
// nothing, and is refused.
func (r *request) into(v any) error {
	dec := json.NewDecoder(bytes.NewReader(r.Body))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "unknown field"):
		return call.Errorf("UnsupportedOperation", "The local cloud does not support this parameter of %s: %v", r.Action, err)
	}
	return call.Errorf("SerializationException", "%v", err)
}

// WriteError writes an error in the form of JSON 1.1.
func WriteError(w http.ResponseWriter, c *call.Call, e *call.Error) {
	write(w, c, e.Status, map[string]string{"__type": e.Code, "message": e.Message})
}

func write(w http.ResponseWriter, c *call.Call, status int, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", c.RequestID)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func invalid(format string, args ...any) *call.Error {
	return call.Errorf("ValidationException", format, args...)
}
