// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package panics

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCaught(t *testing.T) {
	var logs bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logs, nil))
	answer := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sorry", http.StatusInternalServerError) }
	serve := func(do http.HandlerFunc) *httptest.ResponseRecorder {
		logs.Reset()
		rec := httptest.NewRecorder()
		Caught(do, log, answer).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("x", 500), nil))
		return rec
	}

	rec := serve(func(http.ResponseWriter, *http.Request) { panic("oops") })
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Equal(t, "sorry\n", rec.Body.String())
	require.Contains(t, logs.String(), "value=oops")
	require.Contains(t, logs.String(), "panics_test.go", "the stack leads to the handler")
	require.NotContains(t, logs.String(), strings.Repeat("x", 201))

	rec = serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	require.Equal(t, http.StatusNoContent, rec.Code)
	require.Empty(t, logs.String())

	require.PanicsWithValue(t, http.ErrAbortHandler, func() { serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) })
	require.Empty(t, logs.String())
}
