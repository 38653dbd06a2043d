// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// person is somebody who has logged in.
type person struct {
	*world
	bearer string
	email  string
}

func (w *world) person(account int64, roles ...access.Role) *person {
	w.t.Helper()
	people := peopleOf(w.fleet)
	email := strings.ToLower("p" + fleet.NewUID() + "@example.net")
	_, err := people.AddUser(w.t.Context(), account, access.NewUser{Email: email, Roles: roles}, "test")
	require.NoError(w.t, err)
	token, err := people.NewRefreshToken(w.t.Context(), account, email, "test", "test")
	require.NoError(w.t, err)
	got := w.call("POST", "/api/oauth2", map[string]any{"grant_type": "refresh_token", "refresh_token": token.Reveal()})
	require.Equal(w.t, 200, got.status, got.body)
	var o wire.OAuthResponse
	got.into(w.t, &o)
	return &person{world: w, bearer: o.AccessToken, email: email}
}

func (p *person) auth(r *http.Request) { r.Header.Set("Authorization", "Bearer "+p.bearer) }

func (p *person) do(method, path string, body any, want int) answer {
	p.t.Helper()
	got := p.call(method, path, body, p.auth)
	require.Equal(p.t, want, got.status, "%s %s: %s", method, path, got.body)
	return got
}

// made creates something and returns its href.
func (p *person) made(path string, body any) string {
	p.t.Helper()
	return p.do("POST", path, body, 201).header.Get("Location")
}

// routed lists what chi would route.
func routed(t *testing.T, w *world) map[string]bool {
	t.Helper()
	routes := map[string]bool{}
	h := New(w.fleet, Options{Log: nil, PublicHost: "x"}).Handler().(chi.Router)
	require.NoError(t, chi.Walk(h, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routes[method+" "+route] = true
		return nil
	}))
	return routes
}

// instanceMay is §10.6 of the protocol in words of its own: an agent calls
// these, and what is below right_net and router.
var instanceMay = regexp.MustCompile(`^(GET /api/sessions?(/instance)?|DELETE /api/sessions?|GET /api/clouds(/\{cloud\}(/images(/\{uid\})?|/instances(/\{instance\}(/live/tasks/\{task\})?)?)?)?` +
	`|POST /api/tags/\w+|(GET|POST) /api/audit_entries|(GET|PUT) /api/audit_entries/\{id\}|GET /api/audit_entries/\{id\}/detail|POST /api/audit_entries/\{id\}/append` +
	`|GET /api/user_data|\w+ /api/right_net/.*|\w+ /router/.*)$`)

// open are the calls without a session.
var openToAll = regexp.MustCompile(`^(GET (/api|/router)/health-check|POST /api/oauth2|POST /api/enrolment/challenge|POST /api/sessions?(/instance)?|GET /api/sessions?/accounts|GET /api/right_net/attachments/\{digest\})$`)

// roleOf is the role that a route wants of people, by its kind and not by the
// table.
func roleOf(method, path string) access.Role {
	designer := regexp.MustCompile(`^/api/(server_templates|right_scripts|multi_cloud_images|server_template_multi_cloud_images)\b`)
	switch {
	case strings.HasSuffix(path, "/publish"):
		return access.Publisher
	case method == http.MethodGet, regexp.MustCompile(`/(by_resource|by_tag|resolve|detect_changes_in_head)$`).MatchString(path), strings.HasPrefix(path, "/api/session"):
		return access.Observer
	case designer.MatchString(path):
		return access.Designer
	}
	return access.Actor
}

// Every route is in the table, with the right that its kind asks for, and every
// kind of caller meets it as the table says.
func TestAuthorisationTable(t *testing.T) {
	w := start(t)
	routes := routed(t, w)
	table := map[string]entry{}
	for _, e := range New(w.fleet, Options{}).entries() {
		table[e.method+" "+e.path] = e
	}
	require.Len(t, routes, len(table))
	callers := map[access.Role]*person{}
	for _, role := range access.Roles {
		callers[role] = w.person(fleet.DefaultAccount, role)
	}
	agent := w.login(w.server("web-1")).operational("i-1")
	param := regexp.MustCompile(`\{\w+\}`)
	for name := range routes {
		e, ok := table[name]
		require.True(t, ok, "%s is not in the table", name)
		require.Equal(t, openToAll.MatchString(name), e.open, name)
		if e.open {
			require.Equal(t, anybody, e.rule, name)
			continue
		}
		require.Equal(t, instanceMay.MatchString(name), e.instance, name)
		path := param.ReplaceAllString(e.path, "999999")
		version := func(r *http.Request) { r.Header.Set("X-API-Version", versionFor(e.path)) }
		require.Equal(t, 401, w.call(e.method, path, nil, version).status, "%s without a session", name)
		for role, p := range callers {
			if e.role != "" {
				require.Equal(t, roleOf(e.method, e.path), e.role, name)
			}
			may := e.role != "" && access.Principal{Kind: access.KindUser, Roles: []access.Role{role}}.May(e.role)
			if strings.HasPrefix(name, "DELETE /api/session") {
				continue // it would end the session
			}
			got := w.call(e.method, path, nil, p.auth, version)
			require.Equal(t, !may, got.status == 403 && strings.HasPrefix(got.body, "Permission Denied"), "%s as %s: %d %s", name, role, got.status, got.body)
			require.Less(t, got.status, 500, "%s as %s: %s", name, role, got.body)
			require.NotEqual(t, 404, got.status, name)
		}
		if strings.HasPrefix(e.path, "/router/") {
			continue // see TestRouterRefuses; connect waits
		}
		got := w.call(e.method, path, nil, agent.auth, version)
		denied := got.status == 403 && strings.HasPrefix(got.body, "Permission Denied: an instance")
		require.Equal(t, !e.instance, denied, "%s as an agent: %d %s", name, got.status, got.body)
		require.Less(t, got.status, 500, "%s as an agent: %s", name, got.body)
	}
}

// objects makes one of everything and returns the hrefs.
func (p *person) objects(server int64) map[string]string {
	p.t.Helper()
	st := p.made("/api/server_templates", map[string]any{"server_template": map[string]any{"name": "t"}})
	script := p.made("/api/right_scripts", map[string]any{"right_script": map[string]any{"name": "s", "source": "#!/bin/sh\necho $A"}})
	mci := p.made("/api/multi_cloud_images", map[string]any{"multi_cloud_image": map[string]any{"name": "m"}})
	deployment := p.made("/api/deployments", map[string]any{"deployment": map[string]any{"name": "d"}})
	return map[string]string{
		"st": st, "script": script, "mci": mci, "deployment": deployment,
		"binding":    p.made(st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": script, "sequence": "boot"}}),
		"credential": p.made("/api/credentials", map[string]any{"credential": map[string]any{"name": "C", "value": "hidden value"}}),
		"alert":      p.made(st+"/alert_specs", map[string]any{"alert_spec": map[string]any{"name": "a", "duration": "5"}}),
		"stmci":      p.made("/api/server_template_multi_cloud_images", map[string]any{"server_template_multi_cloud_image": map[string]any{"server_template_href": st, "multi_cloud_image_href": mci}}),
		"setting": p.made(mci+"/settings", map[string]any{"multi_cloud_image_setting": map[string]any{"cloud_href": "/api/clouds/1", "image_href": "/api/clouds/1/images/ami-1",
			"instance_type_href": "/api/clouds/1/instance_types/t3.small"}}),
		"array":  p.made("/api/server_arrays", map[string]any{"server_array": map[string]any{"name": "a", "instance": map[string]any{"cloud_href": "/api/clouds/1", "server_template_href": st}}}),
		"audit":  p.made("/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": deployment, "summary": "x"}}),
		"server": fleet.ServerHref(server), "account": accountHref(fleet.DefaultAccount), "cloud": cloudHref(store.DefaultCloud),
	}
}

// What belongs to one account does not exist for another one.
func TestOtherAccount(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")
	ann := w.person(fleet.DefaultAccount, access.Admin)
	server := w.view("web-1")
	hrefs := ann.objects(server.ID)
	hrefs["instance"] = a.self
	require.NoError(t, w.fleet.DB.CreateAccount(t.Context(), store.Account{ID: 2, Name: "other"}, w.fleet.Now()))
	eve := w.person(2, access.Admin)

	for name, href := range hrefs {
		ann.do("GET", href, nil, 200)
		eve.do("GET", href, nil, 422)
		for _, method := range []string{"PUT", "DELETE", "POST"} {
			got := eve.call(method, href, map[string]any{}, eve.auth)
			require.Contains(t, []int{400, 405, 422}, got.status, "%s %s %s: %s", method, name, href, got.body)
		}
		ann.do("GET", href, nil, 200)
	}
	for _, path := range []string{"/api/deployments", "/api/servers", "/api/server_templates", "/api/right_scripts", "/api/multi_cloud_images", "/api/credentials", "/api/server_arrays",
		"/api/server_template_multi_cloud_images", "/api/clouds", "/api/audit_entries?start_date=2020/01/01%2000:00:00%20%2B0000&end_date=2040/01/01%2000:00:00%20%2B0000&limit=1000"} {
		got := eve.do("GET", path, nil, 200)
		for _, href := range hrefs {
			require.NotContains(t, got.body, `"`+href+`"`, path)
		}
		if !strings.HasPrefix(path, "/api/audit") {
			require.NotEqual(t, "[]", ann.do("GET", path, nil, 200).body, path)
		}
	}
	for _, step := range []struct{ method, path string }{
		{"POST", hrefs["server"] + "/launch"}, {"POST", hrefs["server"] + "/unwrap"}, {"POST", hrefs["server"] + "/enable_runnable_bindings"},
		{"POST", hrefs["server"] + "/disable_runnable_bindings"}, {"POST", hrefs["cloud"] + "/instances"}, {"POST", hrefs["server"] + "/terminate"}, {"POST", hrefs["server"] + "/clone"}, {"POST", hrefs["instance"] + "/terminate"},
		{"POST", hrefs["instance"] + "/lock"}, {"POST", hrefs["deployment"] + "/lock"}, {"POST", hrefs["deployment"] + "/clone"}, {"GET", hrefs["instance"] + "/inputs"},
		{"GET", hrefs["st"] + "/inputs"}, {"GET", hrefs["script"] + "/source"}, {"GET", hrefs["script"] + "/attachments"}, {"GET", hrefs["mci"] + "/settings"},
		{"POST", hrefs["array"] + "/launch"}, {"GET", hrefs["array"] + "/current_instances"}, {"POST", hrefs["stmci"] + "/make_default"}, {"GET", hrefs["audit"] + "/detail"},
		{"GET", "/api/clouds/1/instances"}, {"GET", "/api/clouds/1/images"}, {"GET", "/api/clouds/1/instance_types"},
	} {
		eve.do(step.method, step.path, nil, 422)
	}
	run := map[string]any{"right_script_href": hrefs["script"]}
	eve.do("POST", hrefs["instance"]+"/run_executable", run, 422)
	eve.do("POST", "/api/tags/multi_add", map[string]any{"resource_hrefs": []string{hrefs["server"]}, "tags": []string{"a:b=c"}}, 422)
	require.Contains(t, eve.do("POST", "/api/tags/by_resource", map[string]any{"resource_hrefs": []string{hrefs["server"]}}, 200).body, `"tags":[]`)
	eve.do("POST", "/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": hrefs["server"], "summary": "x"}}, 422)
	eve.do("POST", hrefs["audit"]+"/append", map[string]any{"detail": "x"}, 422)
	// Nor can it be named from there.
	st := eve.made("/api/server_templates", map[string]any{"server_template": map[string]any{"name": "t"}})
	eve.do("POST", st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": hrefs["script"]}}, 422)
	eve.do("POST", "/api/server_template_multi_cloud_images", map[string]any{"server_template_multi_cloud_image": map[string]any{"server_template_href": st, "multi_cloud_image_href": hrefs["mci"]}}, 422)
	eve.do("POST", "/api/servers", map[string]any{"server": map[string]any{"name": "x", "instance": map[string]any{"cloud_href": "/api/clouds/1", "server_template_href": st}}}, 422)
	eve.do("POST", "/api/servers", map[string]any{"server": map[string]any{"name": "x", "instance": map[string]any{"cloud_href": "/api/clouds/1", "server_template_href": hrefs["st"]}}}, 422)
	// A session of one account is none of another one's.
	got := w.call("GET", "/api/clouds", nil, ann.auth, func(r *http.Request) { r.Header.Set("X-Account", "2") })
	require.Equal(t, 403, got.status)
}

// An agent sees its account and changes itself alone.
func TestInstanceRights(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	a, b := w.login(w.server("web-1")).operational("i-1"), w.login(w.server("web-2")).operational("i-2")
	ann := w.person(fleet.DefaultAccount, access.Admin)
	other := ann.made("/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": b.self, "summary": "of another one"}})
	own := a.do("POST", "/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": a.self, "summary": "mine"}}, 201).header.Get("Location")

	require.Contains(t, a.do("GET", "/api/clouds/1/instances", nil, 200).body, b.self)
	a.do("GET", b.self, nil, 200)
	a.do("GET", other, nil, 422)
	a.do("GET", other+"/detail", nil, 422)
	a.do("POST", other+"/append", map[string]any{"detail": "x"}, 422)
	a.do("PUT", other, map[string]any{"audit_entry": map[string]any{"summary": "x"}}, 422)
	a.do("PUT", own, map[string]any{"audit_entry": map[string]any{"summary": "changed"}}, 204)
	a.do("POST", "/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": b.self, "summary": "x"}}, 403)
	list := a.do("GET", "/api/audit_entries", map[string]any{"start_date": "2020/01/01 00:00:00 +0000", "end_date": "2040/01/01 00:00:00 +0000", "limit": 100}, 200).body
	require.Contains(t, list, `"changed"`)
	require.NotContains(t, list, "of another one")
	task := strings.Replace(a.self+"/live/tasks/ae-N", "N", other[strings.LastIndex(other, "/")+1:], 1)
	a.do("GET", task, nil, 422)

	// Tags of the account, or of the deployment where that says so.
	ann.do("POST", "/api/tags/multi_add", map[string]any{"resource_hrefs": []string{b.self}, "tags": []string{"app:role=db"}}, 204)
	byTag := map[string]any{"resource_type": "instances", "tags": []string{"app:role=db"}}
	require.Contains(t, a.do("POST", "/api/tags/by_tag", byTag, 200).body, b.self)
	deployment := ann.made("/api/deployments", map[string]any{"deployment": map[string]any{"name": "narrow"}})
	ann.do("PUT", fleet.ServerHref(w.view("web-1").ID), map[string]any{"server": map[string]any{"deployment_href": deployment}}, 204)
	require.Equal(t, "[]", a.do("POST", "/api/tags/by_tag", byTag, 200).body)
	a.do("POST", "/api/tags/by_resource", map[string]any{"resource_hrefs": []string{b.self}}, 403)
	ann.do("PUT", deployment, map[string]any{"deployment": map[string]any{"server_tag_scope": "account"}}, 204)
	require.Contains(t, a.do("POST", "/api/tags/by_resource", map[string]any{"resource_hrefs": []string{b.self}}, 200).body, "app:role=db")

	// Its session is good as a cookie too, and its identity makes one.
	cookie := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: sessionCookie, Value: value}) }
	}
	require.Equal(t, 200, w.call("GET", "/api/sessions/instance", nil, cookie(a.bearer)).status)
	got := w.call("POST", "/api/session/instance", map[string]any{"instance_token": a.id + ":" + a.token, "account_href": "/api/accounts/1"})
	require.Equal(t, 204, got.status, got.body)
	require.Len(t, got.header.Values("Set-Cookie"), 2)
	require.Equal(t, 401, w.call("POST", "/api/session/instance", map[string]any{"instance_token": a.id + ":wrong", "account_href": "/api/accounts/0"}).status)
	require.Equal(t, 401, w.call("POST", "/api/session/instance", map[string]any{"instance_token": ann.bearer, "account_href": "/api/accounts/0"}).status)

	// What people set for one instance counts for it alone.
	server := w.view("web-1")
	require.NoError(t, w.fleet.SetServerInputs(ctx, fleet.By{Account: 1}, server.ID, 0, map[string]rightscript.Value{"PORT": {Kind: rightscript.KindText, Text: "1"}}))
	ann.do("PUT", a.self+"/inputs/multi_update", map[string]any{"inputs": map[string]string{"PORT": "text:2"}}, 204)
	require.Contains(t, ann.do("GET", a.self+"/inputs?view=inputs_2_0", nil, 200).body, `{"name":"PORT","value":"text:2"}`)
	row, err := w.fleet.ServerByID(ctx, 1, server.ID)
	require.NoError(t, err)
	require.Contains(t, ann.do("GET", fleet.NextHref(row)+"/inputs?view=inputs_2_0", nil, 200).body, `{"name":"PORT","value":"text:1"}`)
}
