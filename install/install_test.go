// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package install

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/launchdata"
)

const settings = "RS_rn_id=4711&RS_rn_auth=s3cr3t&RS_account=71&RS_server=rs.example.net"

func TestUserData(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(settings)) })
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>RS_rn_id")) })
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("RS_rn_id=1&RS_server=h")) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), launchdata.MaxSize+1))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "user-data")
	require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
	for from, want := range map[string]string{
		srv.URL + "/good?key=s3cr3t": "", srv.URL + "/moved": "", file: "",
		srv.URL + "/page": "no platform settings", srv.URL + "/half": "RS_rn_auth is missing",
		srv.URL + "/endless": "more than", srv.URL + "/none?key=s3cr3t": "404", "http://127.0.0.1:1/?key=s3cr3t": "refused",
		"ftp://h/x": "https://", file + "x": "no such file", "http://192.0.2.1/?key=s3cr3t": "--allow-http takes the risk",
	} {
		data, err := Options{Connect: from, Force: true}.userData(t.Context())
		if want == "" {
			require.NoError(t, err, from)
			require.Equal(t, settings, string(data))
			continue
		}
		require.ErrorContains(t, err, want, from)
		require.False(t, strings.Contains(err.Error(), "s3cr3t"), "%v shows the secret", err)
	}
	data, err := Options{}.userData(t.Context())
	require.NoError(t, err)
	require.Nil(t, data)
}

// TestWrongAddressChangesNothing: everything from outside is fetched first.
func TestWrongAddressChangesNothing(t *testing.T) {
	err := Run(t.Context(), Options{Connect: filepath.Join(t.TempDir(), "none"), Force: true, Output: &bytes.Buffer{}})
	require.ErrorContains(t, err, "--connect")
	require.NoFileExists(t, extraData)
}
