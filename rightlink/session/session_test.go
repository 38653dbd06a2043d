// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func TestAuthorizeSendsTheProtocol(t *testing.T) {
	s := newScript(t)
	first := s.grant("t1")
	first.check = func(r *http.Request, body string) {
		user, password, ok := r.BasicAuth()
		require.True(t, ok)
		require.Equal(t, "4711", user)
		require.Equal(t, theSecret, password)
		require.Equal(t, "1.5", r.Header.Get("X-API-Version"))
		require.Equal(t, "4711", r.Header.Get("X-RightLink-ID"))
		require.Equal(t, "RightLink v0.1.0", r.Header.Get("User-Agent"))
		require.NotEmpty(t, r.Header.Get("X-Request-Lineage-Uuid"))
		require.JSONEq(t, `{"grant_type":"client_credentials","account_id":71,"r_s_version":24,"right_link_version":"0.1.0"}`, body)
	}
	health := healthy
	health.check = func(r *http.Request, _ string) { require.Empty(t, r.Header.Get("Authorization")) }
	self := step{call: "GET /api/sessions/instance", status: 200, body: wire.Instance{Links: []wire.Link{{Rel: "self", Href: "/api/clouds/1/instances/A"}}},
		check: func(r *http.Request, _ string) { require.Equal(t, "Bearer t1", r.Header.Get("Authorization")) }}
	s.want = []step{first, health, self}

	ses, _ := s.session(t, io.Discard)
	require.NoError(t, ses.Connect(t.Context(), RunPolicy()))
	require.True(t, ses.Authorized())
	require.Equal(t, int64(3), ses.Facts().ShardID)
	href, err := ses.SelfHref(t.Context())
	require.NoError(t, err)
	require.Equal(t, "/api/clouds/1/instances/A", href)
}

func TestConnectBacksOff(t *testing.T) {
	s := newScript(t)
	fail := func(status int, header map[string]string) step {
		return step{call: "POST /api/oauth2", status: status, header: header, body: "no " + theSecret}
	}
	s.want = []step{
		fail(503, map[string]string{"Retry-After": "40"}), fail(503, nil), fail(429, map[string]string{"Retry-After": "9"}),
		fail(401, nil), fail(401, nil), fail(500, nil), fail(-1, nil), s.grant("t"), healthy,
	}
	var logs bytes.Buffer
	ses, fake := s.session(t, &logs)
	require.NoError(t, ses.Connect(t.Context(), RunPolicy()))
	require.Equal(t, []float64{42.5, 5, 9.5625, 60, 120, 60, 5}, seconds(fake.Waits()))
	require.NotContains(t, logs.String(), theSecret)
	require.Contains(t, logs.String(), "(hidden)")
}

func TestConnectPollsHealth(t *testing.T) {
	s := newScript(t)
	down := step{call: "POST /api/oauth2", status: 502}
	s.want = []step{down, down, down, down, down, down,
		{call: "GET /api/health-check", status: 503}, {call: "GET /api/health-check", status: 502}, healthy, s.grant("t"), healthy}
	ses, fake := s.session(t, io.Discard)
	require.NoError(t, ses.Connect(t.Context(), RunPolicy()))
	require.Equal(t, []float64{5, 5, 5, 5, 5, 7, 15, 15}, seconds(fake.Waits()))
}

func TestConnectionRefusedEndsWithTheContext(t *testing.T) {
	s := newScript(t)
	ses, fake := s.session(t, io.Discard)
	s.srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	fake.OnSleep = func(time.Duration) {
		if n++; n == 9 {
			cancel()
		}
	}
	require.ErrorIs(t, ses.Connect(ctx, EnrollPolicy()), context.Canceled)
	require.Equal(t, []float64{4, 8, 16, 32, 64, 64, 64, 64}, seconds(fake.Waits()))
}

func TestRedirectKeepsThePath(t *testing.T) {
	target := newScript(t)
	first := target.grant("t")
	first.call += "?shard=3"
	first.check = func(r *http.Request, _ string) {
		_, password, _ := r.BasicAuth()
		require.Equal(t, theSecret, password)
	}
	target.want = []step{first, healthy}
	s := newScript(t, step{call: "POST /api/oauth2", status: 301, header: map[string]string{"Location": target.srv.URL + "/elsewhere/x?shard=3"}})
	ses, _ := s.session(t, io.Discard)
	require.NoError(t, ses.Connect(t.Context(), RunPolicy()))
	require.Equal(t, target.srv.URL+"/api", ses.Facts().APIURL)
}

func TestRedirectRefused(t *testing.T) {
	for name, location := range map[string]string{"plain http": "http://127.0.0.1/api", "relative": "/api/other"} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, step{call: "POST /api/oauth2", status: 302, header: map[string]string{"Location": location}})
			ses, _ := s.session(t, io.Discard)
			require.ErrorContains(t, ses.Authorize(t.Context()), "not an absolute https URL")
		})
	}
	s := newScript(t)
	for range 6 {
		s.want = append(s.want, step{call: "POST /api/oauth2", status: 302, header: map[string]string{"Location": s.srv.URL}})
	}
	ses, _ := s.session(t, io.Discard)
	require.ErrorContains(t, ses.Authorize(t.Context()), "more than 5 redirects")
}

func TestBadAnswers(t *testing.T) {
	for want, change := range map[string]func(*wire.OAuthResponse){
		"access_token is missing": func(a *wire.OAuthResponse) { a.AccessToken = "" },
		`mode is "amqp"`:          func(a *wire.OAuthResponse) { a.Mode = "amqp" },
		"not an https URL":        func(a *wire.OAuthResponse) { a.APIURL = "http://h/api" },
		"expires_in is 0":         func(a *wire.OAuthResponse) { a.ExpiresIn = 0 },
	} {
		s := newScript(t)
		grant := s.grant("t")
		body := grant.body.(wire.OAuthResponse)
		change(&body)
		grant.body = body
		s.want = []step{grant}
		ses, _ := s.session(t, io.Discard)
		err := ses.Authorize(t.Context())
		require.ErrorContains(t, err, want)
		require.Equal(t, Refused, ClassOf(err))
	}
}

func TestCallsRenewTheToken(t *testing.T) {
	for _, status := range []int{401, 403, 302} {
		s := newScript(t)
		s.want = []step{s.grant("t1"),
			{call: "PUT /api/right_net/state_recorder/record", status: status},
			s.grant("t2"),
			{call: "PUT /api/right_net/state_recorder/record", status: 204, check: func(r *http.Request, body string) {
				require.Equal(t, "Bearer t2", r.Header.Get("Authorization"))
				require.JSONEq(t, `{"state":"booting","from_state":"pending"}`, body)
			}}}
		ses, _ := s.session(t, io.Discard)
		require.NoError(t, ses.Authorize(t.Context()))
		require.NoError(t, ses.Record(t.Context(), wire.StateRecord{State: "booting", FromState: "pending"}))
	}
	s := newScript(t)
	denied := step{call: "POST /api/right_net/booter/declare", status: 403, body: map[string]string{"message": "the token is used by i-2"}}
	s.want = []step{s.grant("t1"), denied, s.grant("t2"), denied}
	ses, _ := s.session(t, io.Discard)
	require.NoError(t, ses.Authorize(t.Context()))
	_, err := ses.Declare(t.Context(), wire.DeclareRequest{ResourceUID: "i-1"})
	require.ErrorContains(t, err, "the token is used by i-2")
	require.Equal(t, Expired, ClassOf(err))
}

func TestCallsAreRepeated(t *testing.T) {
	s := newScript(t)
	call := "POST /api/audit_entries/7/append"
	var lineages []string
	note := func(r *http.Request, _ string) { lineages = append(lineages, r.Header.Get("X-Request-Lineage-Uuid")) }
	s.want = []step{s.grant("t"),
		{call: call, status: -1, check: note},
		{call: call, status: 449, check: note},
		{call: call, status: 503, header: map[string]string{"Retry-After": "20"}, check: note},
		{call: call, status: 204, check: note}}
	ses, fake := s.session(t, io.Discard)
	require.NoError(t, ses.Authorize(t.Context()))
	require.NoError(t, ses.AppendAudit(t.Context(), 7, wire.AuditAppend{Detail: "x", Offset: 3}))
	require.Equal(t, []float64{4, 4, 21.25}, seconds(fake.Waits()))
	require.Equal(t, lineages[0], lineages[1])
	require.Equal(t, lineages[0]+":retry", lineages[3])
}

func TestKeepAlive(t *testing.T) {
	s := newScript(t)
	down := step{call: "POST /api/oauth2", status: 504}
	s.want = []step{s.grant("t1"), s.grant("t2"), down, down, s.grant("t3"), s.grant("t4")}
	ses, fake := s.session(t, io.Discard)
	require.NoError(t, ses.Authorize(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	fake.OnSleep = func(time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.want) == 0 {
			cancel()
		}
	}
	ses.KeepAlive(ctx)
	require.Equal(t, []float64{3600, 3600, 1800, 900, 3600}, seconds(fake.Waits()))
}

func TestDownload(t *testing.T) {
	s := newScript(t)
	path := "/api/right_net/attachments/abc"
	s.want = []step{{call: "GET " + path, status: 200, body: "content", check: func(r *http.Request, _ string) {
		require.Equal(t, "Bearer att", r.Header.Get("Authorization"))
	}}, {call: "GET " + path, status: 200, body: "content"}, {call: "GET " + path, status: 404}}
	ses, _ := s.session(t, io.Discard)
	for _, u := range []string{"/right_net/attachments/abc", path} {
		var b bytes.Buffer
		n, err := ses.Download(t.Context(), wire.Attachment{URL: u, Token: "att"}, nil, &b)
		require.NoError(t, err)
		require.Equal(t, "\"content\"\n", b.String())
		require.Equal(t, int64(b.Len()), n)
	}
	_, err := ses.Download(t.Context(), wire.Attachment{URL: s.srv.URL + path, Token: "att"}, nil, io.Discard)
	require.ErrorContains(t, err, "404")
	_, err = ses.Download(t.Context(), wire.Attachment{URL: "http://h/x", Token: "att"}, nil, io.Discard)
	require.ErrorIs(t, err, ErrBadURL)
	u, err := ses.attachmentURL(wire.Attachment{URL: "/x"}, []string{"repose.example.net"})
	require.NoError(t, err)
	require.Equal(t, "https://repose.example.net:443/x", u)
}

func TestBadCA(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte("junk"), 0o600))
	_, err := New(Options{CAFile: ca})
	require.ErrorContains(t, err, ca)
	require.NotContains(t, fmt.Sprint(err), "junk")
}
