// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net/http"
	"strings"
)

// root gives "/" and "/ui" to the dashboard, if there is one, and everything
// else to the API and the router.
func (s *Server) root() http.Handler {
	calls := s.Handler()
	if s.opt.UI == nil {
		return calls
	}
	pages := s.logged(s.opt.UI)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p == "/" || p == "/ui" || strings.HasPrefix(p, "/ui/") {
			pages.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}
