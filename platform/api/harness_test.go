// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/pki"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// world is a started platform with one ServerTemplate, seen over TLS.
type world struct {
	t      *testing.T
	fleet  *fleet.Service
	base   string // https://127.0.0.1:port
	client *http.Client
	logs   *syncBuffer
	skew   atomic.Int64 // moves the platform's clock
	ca     string       // file of the CA's certificate
	stop   context.CancelFunc
	done   chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, logs: &syncBuffer{}, done: make(chan error, 1)}
	var err error
	ctx := context.Background()
	w.fleet, err = fleet.OpenAt(ctx, fleet.Place{Dir: dir, Database: storetest.URL(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.fleet.Close()) })
	w.fleet.DB.Rehearse = true // as if each transaction had lost against another first
	w.fleet.Now = func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

	w.upload("../servertemplate/testdata/web/web.yml")
	w.serve(dir, nil)
	return w
}

func (w *world) upload(file string) {
	w.t.Helper()
	tmpl, err := servertemplate.Load(file)
	require.NoError(w.t, err)
	_, err = w.fleet.UploadTemplate(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
	require.NoError(w.t, err)
}

// serve starts the server of a world that has a fleet.
func (w *world) serve(dir string, machines Machines) {
	t := w.t
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	names := []string{"localhost", "127.0.0.1", "169.254.169.253"}
	cert, err := pki.Ensure(filepath.Join(dir, "tls"), names, time.Now())
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv := New(w.fleet, Options{Log: log, PublicHost: "169.254.169.253", Names: names, Machines: machines})
	srv.access.Cost = cheap
	go func() {
		w.done <- srv.Serve(ctx, l, func() (*tls.Certificate, error) { return &cert, nil })
	}()
	pem, err := pki.CA(filepath.Join(dir, "tls"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	w.ca = filepath.Join(dir, "tls", "ca.pem")
	w.base = "https://" + l.Addr().String()
	w.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Minute}}
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		stop()
		require.NoError(t, <-w.done)
	})
}

// identity is what an instance finds in its user-data.
type identity struct{ id, token string }

func (w *world) server(name string, inputs ...string) identity {
	w.t.Helper()
	_, err := w.fleet.CreateServer(context.Background(), fleet.DefaultAccount, fleet.ServerSpec{Name: name, Template: "Test web", Inputs: values(w.t, inputs), Enrolment: wire.EnrolLegacy})
	require.NoError(w.t, err)
	return w.identity(name)
}

func values(t *testing.T, inputs []string) map[string]rightscript.Value {
	t.Helper()
	values := map[string]rightscript.Value{}
	for _, in := range inputs {
		n, text, _ := strings.Cut(in, "=")
		v, err := rightscript.ParseValue(text)
		require.NoError(t, err)
		values[n] = v
	}
	return values
}

func (w *world) identity(name string) identity {
	w.t.Helper()
	doc, err := w.fleet.UserData(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, name, userdata.FormQuery, "h")
	require.NoError(w.t, err)
	var id identity
	for _, item := range strings.Split(doc, "&") {
		switch key, value, _ := strings.Cut(item, "="); key {
		case "RS_rn_id":
			id.id = value
		case "RS_rn_auth":
			id.token = value
		}
	}
	return id
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), v), a.body)
}

// call sends a request with the headers of RightLink; body may be nil, text, or
// something to send as JSON.
func (w *world) call(method, path string, body any, change ...func(*http.Request)) answer {
	w.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(w.t, err)
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, w.base+path, r)
	require.NoError(w.t, err)
	req.Header.Set("X-API-Version", "1.5")
	req.Header.Set("User-Agent", "RightLink v6.3.7")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Lineage-Uuid", "6a7d2c6e-0000-4000-8000-000000000001")
	for _, c := range change {
		c(req)
	}
	resp, err := w.client.Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

func (id identity) basic(r *http.Request) {
	r.SetBasicAuth(id.id, id.token)
	r.Header.Set("X-RightLink-ID", id.id)
}

// rl6 is the body of RightLink 6's OAuth call.
var rl6 = map[string]any{"grant_type": "client_credentials", "account_id": 1, "r_s_version": 24, "right_link_version": "6.3.7"}

// agent is an authorised RightLink.
type agent struct {
	*world
	identity
	bearer string
	self   string
}

func (w *world) login(id identity) *agent {
	w.t.Helper()
	a := w.call("POST", "/api/oauth2", rl6, id.basic)
	require.Equal(w.t, 200, a.status, a.body)
	var o wire.OAuthResponse
	a.into(w.t, &o)
	ag := &agent{world: w, identity: id, bearer: o.AccessToken}
	var inst wire.Instance
	ag.do("GET", "/api/sessions/instance", nil, 200).into(w.t, &inst)
	ag.self = inst.Href("self")
	return ag
}

func (a *agent) auth(r *http.Request) {
	r.Header.Set("Authorization", "Bearer "+a.bearer)
	r.Header.Set("X-RightLink-ID", a.id)
}

func (a *agent) do(method, path string, body any, want int) answer {
	a.t.Helper()
	got := a.call(method, path, body, a.auth)
	require.Equal(a.t, want, got.status, got.body)
	return got
}

func (a *agent) declare(uid string) *agent {
	a.t.Helper()
	a.do("POST", "/api/right_net/booter/declare", map[string]any{"r_s_version": 24, "right_link_version": "6.3.7", "resource_uid": uid,
		"cloud": "ec2", "image_uid": "ami-1", "private_ip_addresses": []string{"10.0.0.7"}}, 200)
	return a
}

func (a *agent) record(state, from, kind string, want int) answer {
	a.t.Helper()
	return a.do("PUT", "/api/right_net/state_recorder/record", wire.StateRecord{State: state, FromState: from, Kind: kind}, want)
}

func (a *agent) boot() wire.ExecutableBundle {
	a.t.Helper()
	var b wire.ExecutableBundle
	a.do("GET", "/api/right_net/booter/get_boot_bundle", nil, 200).into(a.t, &b)
	return b
}

func (w *world) credential(name, value string) {
	w.t.Helper()
	require.NoError(w.t, w.fleet.SetCredential(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, name, "", secret.String(value)))
}

func (w *world) view(name string) fleet.ServerView {
	w.t.Helper()
	v, err := w.fleet.ServerByName(context.Background(), fleet.DefaultAccount, name)
	require.NoError(w.t, err)
	return v
}

func (w *world) trail(name string) string {
	w.t.Helper()
	entries, err := w.fleet.AuditEntries(context.Background(), fleet.DefaultAccount, name, 0, 0)
	require.NoError(w.t, err)
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Summary)
	}
	return strings.Join(lines, "\n")
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
