// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

const password = "correct horse battery"

// world is a dashboard over a real fleet, seen over TLS.
type world struct {
	t        testing.TB
	fleet    *fleet.Service
	access   *access.Service
	web      *Server
	http     *httptest.Server
	machines *machines
	skew     atomic.Int64 // moves the platform's clock
	template int64
}

func start(t testing.TB) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, machines: &machines{}}
	now := func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }
	var err error
	w.fleet, err = fleet.OpenAt(ctx, fleet.Place{Dir: t.TempDir(), Database: storetest.URL(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.fleet.Close()) })
	w.fleet.DB.Rehearse = true // as if each transaction had lost against another first
	w.fleet.Now = now
	require.NoError(t, w.fleet.DB.SetSetting(ctx, fleet.SettingPublicHost, "rs.example.net"))
	w.access = access.New(w.fleet.DB, now)
	w.access.Cost = access.Cost{Time: 1, Memory: 8, Threads: 1} // of passwords: next to nothing
	for role, email := range map[access.Role]string{access.Observer: "observer@example.net", access.Operator: "operator@example.net", access.Admin: "admin@example.net", access.Designer: "designer@example.net"} {
		_, err := w.access.AddUser(ctx, fleet.DefaultAccount, access.NewUser{Email: email, Password: password, Roles: []access.Role{role}}, "test")
		require.NoError(t, err)
	}
	tmpl, err := servertemplate.Load("../servertemplate/testdata/web/web.yml")
	require.NoError(t, err)
	w.template, err = w.fleet.UploadTemplate(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
	require.NoError(t, err)
	require.NoError(t, w.fleet.SetCredential(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "DB_PASSWORD", "of the database", "very-secret-value"))
	errs := &errorLog{}
	t.Cleanup(func() { require.Empty(t, errs.text.String()) })
	w.web, err = New(w.fleet, w.access, Options{Log: slog.New(slog.NewTextHandler(errs, nil)), Machines: w.machines})
	require.NoError(t, err)
	w.http = httptest.NewTLSServer(w.web.Handler())
	t.Cleanup(w.http.Close)
	return w
}

// errorLog fails a test in which the dashboard logs an error: no page may
// answer 500.
type errorLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *errorLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(p), "level=ERROR") {
		l.text.Write(p)
	}
	return len(p), nil
}

// machines notes what a cloud would be asked.
type machines struct {
	mu    sync.Mutex
	calls []string
	err   error
}

func (m *machines) note(what string, id int64, by string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, strings.Join([]string{what, itoa(id), by}, " "))
	return m.err
}

func (m *machines) Launch(_ context.Context, server int64, inputs map[string]string, by string) (store.Instance, error) {
	what := "launch"
	for name, value := range inputs {
		what += " " + name + "=" + value
	}
	return store.Instance{}, m.note(what, server, by)
}

func (m *machines) Relaunch(_ context.Context, server int64, by string) error {
	return m.note("relaunch", server, by)
}
func (m *machines) Terminate(_ context.Context, i int64, by string) error {
	return m.note("terminate", i, by)
}
func (m *machines) Reboot(_ context.Context, i int64, by string) error {
	return m.note("reboot", i, by)
}
func (m *machines) Stop(_ context.Context, i int64, by string) error  { return m.note("stop", i, by) }
func (m *machines) Start(_ context.Context, i int64, by string) error { return m.note("start", i, by) }

// visitor is a browser without JavaScript.
type visitor struct {
	*world
	client *http.Client
	tokens map[string]string // of forms, by session
}

// visitor makes one that has not logged in.
func (w *world) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	client := *w.http.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &visitor{world: w, client: &client}
}

func (w *world) as(who string) *visitor {
	w.t.Helper()
	v := w.visitor()
	p := v.post("/login", "email", who+"@example.net", "password", password)
	require.Equal(w.t, http.StatusSeeOther, p.status, p.body)
	return v
}

// page is an answer.
type page struct {
	status int
	header http.Header
	body   string
	root   *html.Node
}

func (p page) location() string { return p.header.Get("Location") }

func (v *visitor) do(method, path string, body io.Reader, change ...func(*http.Request)) page {
	v.t.Helper()
	if !strings.HasPrefix(path, Base) {
		path = Base + path
	}
	req, err := http.NewRequest(method, v.http.URL+path, body)
	require.NoError(v.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, c := range change {
		c(req)
	}
	resp, err := v.client.Do(req)
	require.NoError(v.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	p := page{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	p.root, err = html.Parse(strings.NewReader(p.body))
	require.NoError(v.t, err)
	return p
}

// root asks for the one page that is not below Base.
func (v *visitor) root() page {
	v.t.Helper()
	return v.do(http.MethodGet, Base, nil, func(r *http.Request) { r.URL.Path = "/" })
}

func (v *visitor) get(path string) page {
	v.t.Helper()
	return v.do(http.MethodGet, path, nil)
}

// sees gets a page that must be there and hold the texts.
func (v *visitor) sees(path string, want ...string) page {
	v.t.Helper()
	p := v.get(path)
	require.Equal(v.t, http.StatusOK, p.status, "%s: %s", path, p.body)
	text := textOf(p.root)
	for _, one := range want {
		require.Contains(v.t, text, one, path)
	}
	return p
}

// csrf is the token of the session's forms.
func (v *visitor) csrf() string {
	v.t.Helper()
	session := v.cookie()
	if session == "" || v.tokens[session] != "" {
		return v.tokens[session]
	}
	for _, n := range all(v.get("/me").root, "input") {
		if attr(n, "name") == "csrf" {
			v.tokens = map[string]string{session: attr(n, "value")}
		}
	}
	return v.tokens[session]
}

// cookie is the session's secret.
func (v *visitor) cookie() string {
	u, err := url.Parse(v.http.URL)
	require.NoError(v.t, err)
	for _, c := range v.client.Jar.Cookies(u) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

// post sends a form of names and values, with the session's token.
func (v *visitor) post(path string, form ...string) page {
	v.t.Helper()
	values := url.Values{"csrf": {v.csrf()}}
	for i := 0; i+1 < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	return v.do(http.MethodPost, path, strings.NewReader(values.Encode()))
}

// all returns the elements of a name below a node.
func all(n *html.Node, name string) (list []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (d.Data == name || name == "*") {
			list = append(list, d)
		}
	}
	return list
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// textOf is the text of a node with single spaces.
func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style" {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// server makes a server that enrols with its token alone.
func (w *world) server(name string) store.Server {
	w.t.Helper()
	s, err := w.fleet.CreateServer(context.Background(), fleet.DefaultAccount, fleet.ServerSpec{Name: name, Template: "Test web", Enrolment: wire.EnrolLegacy,
		Inputs: inputs(w.t, "PASSWORD=cred:DB_PASSWORD")})
	require.NoError(w.t, err)
	return s
}

// agent is what a RightLink does, without its network.
type agent struct {
	*world
	sess fleet.Session
}

// enrol brings the instance of a server to operational.
func (w *world) enrol(server store.Server, uid string) agent {
	w.t.Helper()
	ctx := context.Background()
	token, err := w.fleet.DB.LatestToken(ctx, server.ID)
	require.NoError(w.t, err)
	doc, err := w.fleet.UserData(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, server.Name, "query", "h")
	require.NoError(w.t, err)
	values, err := url.ParseQuery(doc)
	require.NoError(w.t, err)
	bearer, err := w.fleet.Login(ctx, token.ID, fleet.DefaultAccount, secret.String(values.Get("RS_rn_auth")))
	require.NoError(w.t, err)
	a := agent{world: w}
	a.sess, err = w.fleet.Session(ctx, bearer)
	require.NoError(w.t, err)
	_, err = w.fleet.Declare(ctx, a.sess, wire.DeclareRequest{ResourceUID: uid, RightLinkVersion: "10.6.4", Cloud: "ec2", ImageUID: "ami-0abc", PrivateAddresses: []string{"10.0.0.7"}})
	require.NoError(w.t, err)
	for _, state := range []string{wire.StateBooting, wire.StateOperational} {
		require.NoError(w.t, w.fleet.RecordState(ctx, a.sess, wire.StateRecord{State: state}))
	}
	return a
}

// writes appends to an audit entry.
func (a agent) writes(id int64, summary, text string) {
	a.t.Helper()
	require.NoError(a.t, a.fleet.AppendAudit(context.Background(), a.sess, id, fleet.AuditPatch{Summary: summary, Detail: text}))
}
