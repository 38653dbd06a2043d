// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// parameterError is a request that cannot be read: 400.
type parameterError struct{ text string }

func (e *parameterError) Error() string { return e.text }

// deniedError is a call outside of the caller's roles: 403.
type deniedError struct{ text string }

func (e *deniedError) Error() string { return e.text }

// fail writes the status and text that API 1.5 clients expect for an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var (
		parameter *parameterError
		refused   *fleet.RefusedError
		invalid   *fleet.InvalidError
		denied    *deniedError
		busy      *busyError
		tooLong   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &tooLong):
		writeText(w, http.StatusRequestEntityTooLarge, "the request body is too long")
	case errors.As(err, &parameter):
		writeText(w, http.StatusBadRequest, "ParameterError: "+parameter.text)
	case errors.As(err, &denied):
		writeText(w, http.StatusForbidden, "Permission Denied: "+denied.text)
	case errors.Is(err, access.ErrUnauthorized):
		w.Header().Set("WWW-Authenticate", `Bearer realm="rightscaled"`)
		writeText(w, http.StatusUnauthorized, "Unauthorized: "+access.ErrUnauthorized.Error())
	case errors.Is(err, store.ErrText):
		writeText(w, http.StatusUnprocessableEntity, "ActionNotAllowed: "+store.ErrText.Error())
	case errors.As(err, &busy):
		w.Header().Set("Retry-After", strconv.Itoa(int(busy.wait/time.Second)+1))
		writeText(w, http.StatusTooManyRequests, busy.Error())
	case errors.As(err, &refused) && callerOf(r).Kind == access.KindUser:
		// To a person's tool 403 means that the session is over.
		writeText(w, http.StatusUnprocessableEntity, "ActionNotAllowed: "+refused.Text)
	case errors.As(err, &refused):
		writeText(w, http.StatusForbidden, "ActionNotAllowed: "+refused.Text)
	case errors.As(err, &invalid):
		writeText(w, http.StatusUnprocessableEntity, "ActionNotAllowed: "+invalid.Text)
	case errors.Is(err, fleet.ErrExpired), errors.Is(err, access.ErrExpired):
		writeText(w, http.StatusForbidden, "Session cookie is expired or invalid")
	case errors.Is(err, store.ErrNotFound):
		// A missing id is 422 in API 1.5, not 404.
		writeText(w, http.StatusUnprocessableEntity, "ResourceNotFound: "+missing(err))
	case errors.Is(err, store.ErrBusy):
		w.Header().Set("Retry-After", strconv.Itoa(2+rand.N(8))) //nolint:gosec // chance spreads the callers, it is no secret
		writeText(w, http.StatusServiceUnavailable, "the platform is busy; try again")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The client went away; nobody reads the answer.
		w.WriteHeader(499)
	default:
		s.opt.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		writeText(w, http.StatusInternalServerError, "internal error")
	}
}

var missingID = regexp.MustCompile(`^(\w+) ([0-9A-Za-z]+): not found$`)

// missing says in the original's words what does not exist.
func missing(err error) string {
	m := missingID.FindStringSubmatch(err.Error())
	if m == nil {
		return err.Error()
	}
	model := ""
	for _, word := range strings.Split(m[1], "_") {
		model += strings.ToUpper(word[:1]) + word[1:]
	}
	return "Couldn't find " + model + " with ID=" + m[2] + " "
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// writeText writes an error the way API 1.5 does: plain words as text/html.
// What a request brought in is escaped, should a browser ever show it.
func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(escaper.Replace(text)))
}

// writeJSON writes a body; mediaType is the vnd.rightscale name or "".
func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, mediaType string, body any) {
	contentType := "application/json;charset=utf-8"
	if mediaType != "" {
		contentType = "application/vnd.rightscale." + mediaType + "+json;charset=utf-8"
	}
	s.writeAs(w, r, contentType, body)
}

// writeCollection writes a list of resources.
func (s *Server) writeCollection(w http.ResponseWriter, r *http.Request, mediaType string, body any) {
	s.writeAs(w, r, "application/vnd.rightscale."+mediaType+"+json;type=collection;charset=utf-8", body)
}

func (s *Server) writeAs(w http.ResponseWriter, r *http.Request, contentType string, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(raw)
}
