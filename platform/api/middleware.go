// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/internal/panics"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// maxBody bounds a request body. Agents flush audit text at a few KB; the
// largest honest body is one long line of output.
const maxBody = 4 << 20

type contextKey int

const (
	keySession contextKey = iota
	keyCaller
	keyNotes
)

// notes carries what a handler learns back to the log line of its request.
type notes struct {
	tokenID int64
	user    string
}

// logged writes one line per request: no query, header or body, since those can
// hold secrets.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, n := time.Now(), &notes{}
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			attrs := []any{"method", r.Method, "path", clip(r.URL.Path), "status", ww.Status(), "bytes", ww.BytesWritten(),
				"duration", time.Since(start).Round(time.Microsecond), "remote", r.RemoteAddr}
			if n.tokenID != 0 {
				attrs = append(attrs, "token_id", n.tokenID)
			}
			if n.user != "" {
				attrs = append(attrs, "user", n.user)
			}
			if lineage := r.Header.Get(wire.HeaderLineage); lineage != "" {
				attrs = append(attrs, "lineage", clip(lineage))
			}
			s.opt.Log.InfoContext(r.Context(), "request", attrs...)
			if ww.Status() != http.StatusSwitchingProtocols { // that lasts as long as the agent
				s.opt.Observer.Request(r.Method, route(r), ww.Status(), time.Since(start))
			}
		}()
		next.ServeHTTP(ww, r.WithContext(context.WithValue(r.Context(), keyNotes, n)))
	})
}

// route is the pattern that the request has met.
func route(r *http.Request) string {
	if c := chi.RouteContext(r.Context()); c != nil {
		return c.RoutePattern()
	}
	return ""
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// recovered turns a panic into a 500.
func (s *Server) recovered(next http.Handler) http.Handler {
	return panics.Caught(next, s.opt.Log, func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusInternalServerError, "internal error")
	})
}

// normalPath accepts a trailing slash (rsc sends it) and the .json suffix.
func normalPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(r.URL.Path, ".json")
		if len(path) > 1 {
			path = strings.TrimRight(path, "/")
		}
		if path != r.URL.Path {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = path, ""
		}
		next.ServeHTTP(w, r)
	})
}

func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(maxBody)
		if isUpload(r) {
			limit = maxUpload
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// versioned checks X-API-Version; old documents spell it X_API_VERSION.
func versioned(want string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			version := r.Header.Get(wire.HeaderAPIVersion)
			if version == "" {
				version = r.Header.Get("X_API_VERSION")
			}
			switch version {
			case want:
				next.ServeHTTP(w, r)
			case "":
				writeText(w, http.StatusBadRequest, "ParameterError: header "+wire.HeaderAPIVersion+" is missing; send "+want)
			default:
				writeText(w, http.StatusUnprocessableEntity, "ParameterError: API version "+clip(version)+" is not known; send "+want)
			}
		})
	}
}

func bearerToken(r *http.Request) (secret.String, bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 1024 {
		return "", false
	}
	return secret.String(token), true
}

// session returns what authenticated has found.
func session(r *http.Request) fleet.Session {
	sess, _ := r.Context().Value(keySession).(fleet.Session)
	return sess
}
