// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
)

func TestOAuthForms(t *testing.T) {
	w := start(t)
	id := w.server("web-1")
	form := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	for name, tc := range map[string]struct {
		body   any
		change func(*http.Request)
		want   int
	}{
		"body credentials": {map[string]any{"grant_type": "client_credentials", "client_id": id.id, "client_secret": id.token}, func(*http.Request) {}, 200},
		"form":             {url.Values{"grant_type": {"client_credentials"}, "client_id": {id.id}, "client_secret": {id.token}, "account_id": {"1"}}.Encode(), form, 200},
		"trailing slash":   {rl6, func(r *http.Request) { id.basic(r); r.URL.Path += "/" }, 200},
		"old header": {rl6, func(r *http.Request) {
			id.basic(r)
			r.Header.Del("X-API-Version")
			r.Header["X_API_VERSION"] = []string{"1.5"}
		}, 200},
		"no version":          {rl6, func(r *http.Request) { id.basic(r); r.Header.Del("X-API-Version") }, 400},
		"wrong version":       {rl6, func(r *http.Request) { id.basic(r); r.Header.Set("X-API-Version", "9.9") }, 422},
		"wrong token":         {rl6, identity{id.id, "nope"}.basic, 401},
		"no token":            {rl6, identity{id.id, ""}.basic, 401},
		"unknown id":          {rl6, identity{"999999", id.token}.basic, 401},
		"id with zeros":       {rl6, identity{"0" + id.id, id.token}.basic, 401},
		"id with sign":        {rl6, identity{"+" + id.id, id.token}.basic, 401},
		"id is SQL":           {rl6, identity{id.id + " OR 1=1", id.token}.basic, 401},
		"no credentials":      {rl6, func(*http.Request) {}, 401},
		"wrong account":       {map[string]any{"grant_type": "client_credentials", "account_id": 77}, id.basic, 401},
		"other grant":         {map[string]any{"grant_type": "refresh_token", "refresh_token": "x"}, id.basic, 401},
		"AMQP only agent":     {map[string]any{"grant_type": "client_credentials", "r_s_version": 22}, id.basic, 400},
		"empty body":          {nil, id.basic, 400},
		"not JSON":            {"{", id.basic, 400},
		"wrong type":          {`{"grant_type":["client_credentials"]}`, id.basic, 400},
		"trailing garbage":    {`{"grant_type":"client_credentials"} {}`, id.basic, 400},
		"deep":                {strings.Repeat(`[`, 20000), id.basic, 400},
		"GET":                 {nil, func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"body is too long":    {`{"grant_type":"` + strings.Repeat("x", maxBody) + `"}`, id.basic, 413},
		"number out of range": {`{"grant_type":"client_credentials","account_id":99999999999999999999}`, id.basic, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.call("POST", "/api/oauth2", tc.body, tc.change)
			require.Equal(t, tc.want, got.status, got.body)
			if tc.want != 200 {
				require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
				require.NotContains(t, got.body, id.token)
			}
			if tc.want == 401 {
				require.NotEmpty(t, got.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestWrongTokensAreLimited(t *testing.T) {
	w := start(t)
	id := w.server("web-1")
	wrong := identity{id.id, "guess"}
	for range wrongLogins.PerName {
		require.Equal(t, 401, w.call("POST", "/api/oauth2", rl6, wrong.basic).status)
	}
	got := w.call("POST", "/api/oauth2", rl6, wrong.basic)
	require.Equal(t, 429, got.status)
	require.Regexp(t, `^[1-9][0-9]?$`, got.header.Get("Retry-After"))
	require.Equal(t, 200, w.call("POST", "/api/oauth2", rl6, w.server("web-2").basic).status, "others are not held up")
	w.skew.Store(int64(2 * attempts.Window))
	require.Equal(t, 200, w.call("POST", "/api/oauth2", rl6, id.basic).status, "it ends")
	for i := range wrongLogins.PerAddress {
		w.call("POST", "/api/oauth2", rl6, identity{itoa(int64(5000 + i)), "x"}.basic)
	}
	require.Equal(t, 429, w.call("POST", "/api/oauth2", rl6, identity{"6000", "x"}.basic).status)
}

func TestSessionsExpire(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1")).declare("i-1")
	w.skew.Store(int64(2*time.Hour + time.Second))
	require.Equal(t, "Session cookie is expired or invalid", ag.do("GET", "/api/sessions/instance", nil, 403).body)
	for _, header := range []string{"", "Basic abc", "Bearer", "Bearer ", "bearer"} {
		got := w.call("GET", "/api/sessions/instance", nil, func(r *http.Request) { r.Header.Set("Authorization", header) })
		require.Equal(t, 401, got.status, header)
	}
	got := w.call("GET", "/api/sessions/instance", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x' OR '1'='1") })
	require.Equal(t, 403, got.status)
}

func TestHostileRequests(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1")).declare("i-1")
	const declare = "/api/right_net/booter/declare"
	for name, tc := range map[string]struct {
		method, path string
		body         any
		want         int
		text         string
	}{
		"no route":            {"GET", "/api/nothing", nil, 404, "no such route"},
		"root":                {"GET", "/", nil, 404, ""},
		"wrong verb":          {"GET", declare, nil, 405, ""},
		"dots":                {"GET", "/api/../../etc/passwd", nil, 404, ""},
		"no uid":              {"POST", declare, nil, 422, "resource_uid"},
		"uid with markup":     {"POST", declare, `{"resource_uid":"<script>"}`, 422, "&lt;script&gt;"},
		"uid with newline":    {"POST", declare, `{"resource_uid":"i-1\nX"}`, 422, ""},
		"uid too long":        {"POST", declare, map[string]any{"resource_uid": strings.Repeat("i", 300)}, 422, ""},
		"bad address":         {"POST", declare, `{"resource_uid":"i-1","public_ip_addresses":["1.2.3.4; rm"]}`, 422, "not an IP address"},
		"many addresses":      {"POST", declare, map[string]any{"resource_uid": "i-1", "public_ip_addresses": make([]string, 65)}, 422, ""},
		"cloud with escape":   {"POST", declare, `{"resource_uid":"i-1","cloud":"\u001b[2J"}`, 422, ""},
		"version as number":   {"POST", declare, `{"resource_uid":"i-1","r_s_version":"24"}`, 200, ""},
		"unknown field":       {"POST", declare, `{"resource_uid":"i-1","agent_identity":"rs-x"}`, 200, ""},
		"audit id":            {"GET", "/api/audit_entries/1%3Bdrop", nil, 400, ""},
		"audit id negative":   {"GET", "/api/audit_entries/-1", nil, 400, ""},
		"audit id unknown":    {"GET", "/api/audit_entries/99999", nil, 422, "ResourceNotFound"},
		"audit id huge":       {"GET", "/api/audit_entries/99999999999999999999", nil, 400, ""},
		"bundle audit id":     {"GET", "/api/right_net/booter/get_boot_bundle?audit_id=x", nil, 400, ""},
		"script ids":          {"GET", "/api/right_net/booter/get_missing_attributes?scripts_ids[]=a", nil, 400, ""},
		"many script ids":     {"GET", "/api/right_net/booter/get_missing_attributes?" + strings.Repeat("scripts_ids[]=1&", maxScriptIDs+1), nil, 400, ""},
		"no script ids":       {"GET", "/api/right_net/booter/get_missing_attributes", nil, 200, "[]"},
		"audit is null":       {"POST", "/api/audit_entries", "null", 403, ""},
		"audit of a form":     {"POST", "/api/audit_entries", `{"audit_entry":"x"}`, 400, "wrong type"},
		"append without body": {"POST", "/api/audit_entries/1/append", nil, 422, ""},
		"json suffix":         {"GET", "/api/sessions/instance.json", nil, 200, ""},
		"singular":            {"GET", "/api/session/instance", nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ag.do(tc.method, tc.path, tc.body, tc.want)
			require.Contains(t, got.body, tc.text)
		})
	}
	detail := map[string]any{"audit_entry": map[string]any{"auditee_href": ag.self, "summary": "s", "detail": "\x00\xff bytes"}}
	href := ag.do("POST", "/api/audit_entries", detail, 201).header.Get("Location")
	require.Contains(t, ag.do("GET", href+"/detail", nil, 200).body, " bytes")

	form := ag.call("POST", "/api/audit_entries", "audit_entry[auditee_href]="+url.QueryEscape(ag.self)+"&audit_entry[summary]=by+form", ag.auth,
		func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
	require.Equal(t, 201, form.status, form.body)
	require.Contains(t, w.trail("web-1"), "by form")
}

func TestForeignHostHeader(t *testing.T) {
	w := start(t)
	id := w.server("web-1")
	for host, want := range map[string]string{
		"evil.example.net": "https://169.254.169.253/api",
		"169.254.169.253":  "https://169.254.169.253/api",
		"localhost:9443":   "https://localhost:9443/api",
	} {
		got := w.call("POST", "/api/oauth2", rl6, id.basic, func(r *http.Request) { r.Host = host })
		require.Contains(t, got.body, `"api_url":"`+want+`"`, host)
	}
}

func TestPanicIsA500(t *testing.T) {
	var logs syncBuffer
	s := &Server{opt: Options{Log: slog.New(slog.NewTextHandler(&logs, nil)), Observer: unobserved{}}}
	h := s.logged(s.recovered(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") })))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/x", nil))
	require.Equal(t, 500, rec.Code)
	require.NotContains(t, rec.Body.String(), "oops")
	require.Contains(t, logs.String(), "oops")
	require.Contains(t, logs.String(), "status=500")
}

func TestPlainHTTPAndSlowClients(t *testing.T) {
	w := start(t)
	addr := strings.TrimPrefix(w.base, "https://")
	resp, err := http.Get("http://" + addr + "/api/health-check")
	require.NoError(t, err)
	require.Equal(t, 400, resp.StatusCode)
	_ = resp.Body.Close()

	// A connection that says nothing does not hold up a shutdown.
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	w.stop()
	select {
	case err := <-w.done:
		require.NoError(t, err)
		w.done <- nil
	case <-time.After(shutdownTimeout + 5*time.Second):
		t.Fatal("the server does not stop")
	}
}

// A request that is being answered when the stop comes gets its answer.
func TestGracefulShutdown(t *testing.T) {
	w := start(t)
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.base+"/api/oauth2", pr)
	require.NoError(t, err)
	req.Header.Set("X-API-Version", "1.5")
	// The body is sent when the handler begins to read it, not before.
	req.Header.Set("Expect", "100-continue")
	result := make(chan int, 1)
	go func() {
		resp, err := w.client.Do(req)
		if err != nil {
			result <- 0
			return
		}
		_ = resp.Body.Close()
		result <- resp.StatusCode
	}()
	_, err = pw.Write([]byte(`{"grant_type":`))
	require.NoError(t, err)
	w.stop()
	time.Sleep(300 * time.Millisecond)
	_, err = pw.Write([]byte(`"client_credentials"}`))
	require.NoError(t, err)
	require.NoError(t, pw.Close())
	require.Equal(t, 401, <-result)
}
