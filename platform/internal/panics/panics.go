// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package panics keeps a handler's panic from its caller.
package panics

import (
	"log/slog"
	"net/http"
	"runtime/debug"
)

// maxPath bounds what a log entry repeats of a request's path, in bytes.
const maxPath = 200

// Caught is a handler that turns a panic of next into a log entry with the stack,
// and into what answer writes.
func Caught(next http.Handler, log *slog.Logger, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // the documented value, never wrapped
				panic(v)
			}
			path := r.URL.Path
			if len(path) > maxPath {
				path = path[:maxPath] + "…"
			}
			log.ErrorContext(r.Context(), "panic", "path", path, "value", v, "stack", string(debug.Stack()))
			answer(w, r)
		}()
		next.ServeHTTP(w, r)
	})
}
