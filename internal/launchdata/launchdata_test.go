// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launchdata_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/launchdata"
)

func TestGet(t *testing.T) {
	var plain, secure *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer") == "" {
			_, _ = w.Write([]byte("the data"))
		}
	})
	mux.HandleFunc("/full", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", launchdata.MaxSize)))
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", launchdata.MaxSize+1)))
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	plain, secure = httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})

	for address, want := range map[string]string{
		secure.URL + "/good?key=s3cr3t":               "",
		secure.URL + "/full":                          "",
		plain.URL + "/good":                           "", // this machine
		secure.URL + "/to?url=/good":                  "",
		plain.URL + "/to?url=" + secure.URL + "/good": "",
		secure.URL + "/to?url=" + plain.URL + "/good": "from https to http",
		plain.URL + "/to?url=http://192.0.2.1/x":      "a redirect leads to 192.0.2.1: want an https address",
		secure.URL + "/to?url=ftp://h/x":              "from https to ftp",
		secure.URL + "/circle":                        "more than 5 redirects",
		secure.URL + "/long":                          "more than 65536 bytes",
		secure.URL + "/none?key=s3cr3t":               "404",
		"http://192.0.2.1/s3cr3t":                     "want an https address",
		"ftp://192.0.2.1/s3cr3t":                      "begins with https://",
		"https:///s3cr3t":                             "begins with https://",
		"s3cr3t":                                      "begins with https://",
		"https://127.0.0.1:1/s3cr3t":                  "refused",
	} {
		data, err := launchdata.Get(t.Context(), address, launchdata.Options{CA: ca})
		if want == "" {
			require.NoError(t, err, address)
			require.NotEmpty(t, data, address)
			continue
		}
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "s3cr3t")
		require.Nil(t, data)
	}
	_, err := launchdata.Get(t.Context(), secure.URL+"/good", launchdata.Options{})
	require.ErrorContains(t, err, "unknown authority")
	_, err = launchdata.Get(t.Context(), secure.URL+"/good", launchdata.Options{CA: []byte("x")})
	require.ErrorContains(t, err, "no certificate")

	// Asked for, http is allowed; a way down from https is not.
	open := launchdata.Options{CA: ca, AllowHTTP: true}
	_, err = launchdata.Get(t.Context(), "http://[::ffff:192.0.2.1]:99999/x", open)
	require.NotErrorIs(t, err, launchdata.ErrClear)
	_, err = launchdata.Get(t.Context(), secure.URL+"/to?url="+plain.URL+"/good", open)
	require.ErrorContains(t, err, "from https to http")
}
