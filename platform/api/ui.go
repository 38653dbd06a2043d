// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// root gives "/" and "/ui" to the dashboard, if there is one, and everything
// else to the API and the router.
func (s *Server) root() http.Handler {
	calls := s.Handler()
	if s.opt.UI == nil {
		return calls
	}
	pages := patterned(s.logged(s.opt.UI))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p == "/" || p == "/ui" || strings.HasPrefix(p, "/ui/") {
			pages.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}

// patterned gives a request the context in which a router within notes the
// pattern that it has met, so that whoever is around it can tell.
func patterned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, chi.NewRouteContext())))
	})
}
