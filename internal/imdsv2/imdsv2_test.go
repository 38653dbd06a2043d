// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imdsv2

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGet(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch {
		case r.Method == http.MethodPut && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "60":
			_, _ = io.WriteString(w, "the token")
		case r.Header.Get("X-aws-ec2-metadata-token") != "the token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/away":
			http.Redirect(w, r, "/a", http.StatusFound)
		case r.URL.Path == "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", maxAnswer+1))
		case r.URL.Path == "/nothing":
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, "answer of "+r.URL.Path)
		}
	}))
	defer server.Close()

	got, err := Get(t.Context(), server.URL+"/", "/a", "/b")
	require.NoError(t, err)
	require.Equal(t, []string{"answer of /a", "answer of /b"}, got)
	require.Equal(t, []string{"PUT /latest/api/token", "GET /a", "GET /b"}, asked, "one session")

	for path, status := range map[string]int{"/away": http.StatusFound, "/nothing": http.StatusNotFound, "/long": 0} {
		_, err := Get(t.Context(), server.URL, path)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, status, e.Status, path)
		require.Equal(t, path, e.Path)
	}
}
