// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net"
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/panics"
)

// maxForm bounds a posted form; the largest honest one has a few inputs of
// 64 KiB.
const maxForm = 1 << 20

// policy lets a page use our own files and nothing else. Nothing is inline, so
// that a text of a script or an instance can never become part of the page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secured sets the headers that every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if named(r.Host) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// named tells whether a host is a name of the network: a browser that was told
// to use https for "localhost" would do so for everything there.
func named(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && net.ParseIP(host) == nil
}

func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}

// recovered turns a panic into an error page.
func (s *Server) recovered(next http.Handler) http.Handler {
	return panics.Caught(next, s.opt.Log, func(w http.ResponseWriter, r *http.Request) {
		c := &call{Server: s, w: w, r: r}
		c.errorPage(http.StatusInternalServerError, "Something went wrong here", "The platform's log tells more.")
	})
}
