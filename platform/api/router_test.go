// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (a *agent) router(r *http.Request) {
	a.auth(r)
	r.Header.Set("X-API-Version", "2.0")
}

func (a *agent) operational(uid string) *agent {
	a.declare(uid)
	a.record(wire.StateBooting, wire.StatePending, "", 204)
	a.record(wire.StateOperational, wire.StateBooting, "", 204)
	return a
}

func (a *agent) connect(ctx context.Context) *websocket.Conn {
	a.t.Helper()
	h := http.Header{"X-API-Version": {"2.0"}, "Authorization": {"Bearer " + a.bearer}}
	conn, _, err := websocket.Dial(ctx, a.base+"/router/connect?routing_keys[]=", &websocket.DialOptions{HTTPClient: a.client, HTTPHeader: h})
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (w *world) run(name, script string, inputs ...string) int64 {
	w.t.Helper()
	id, err := w.fleet.RunScript(context.Background(), fleet.DefaultAccount, name, fleet.RunRequest{Script: script, Inputs: values(w.t, inputs), By: "test", Thread: "side"})
	require.NoError(w.t, err)
	return id
}

// An operator's request reaches the agent at once, comes again until it is
// acknowledged, and never after that.
func TestPush(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn := a.connect(ctx)
	began := time.Now()
	id := w.run("web-1", "Test start", "PORT=text:81", "PASSWORD=text:x")
	var e wire.Event
	require.NoError(t, wsjson.Read(ctx, conn, &e))
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, wire.ActorScheduleBundle, e.Path)
	var b wire.ExecutableBundle
	require.NoError(t, json.Unmarshal(e.Data, &b))
	require.Equal(t, id, b.AuditID)
	require.Equal(t, "side", b.Policy.ThreadName)
	require.Equal(t, "81", b.Executables[0].Parameters["PORT"])

	// Not acknowledged: a new connection gets it again, and so does a poll.
	_ = conn.CloseNow()
	conn = a.connect(ctx)
	var again wire.Event
	require.NoError(t, wsjson.Read(ctx, conn, &again))
	require.Equal(t, e.UUID, again.UUID)
	var list []wire.Event
	got := a.call("GET", "/router/listen?wait_time=5", nil, a.router)
	got.into(t, &list)
	require.Len(t, list, 1)

	require.NoError(t, wsjson.Write(ctx, conn, wire.Ack{Ack: e.UUID}))
	require.Eventually(t, func() bool {
		got := a.call("GET", "/router/listen?wait_time=0", nil, a.router)
		return got.status == 200 && got.body == "[]"
	}, 5*time.Second, 20*time.Millisecond)
	require.Contains(t, w.trail("web-1"), "Queued: Test start")
}

func TestLongPoll(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")
	go func() {
		time.Sleep(200 * time.Millisecond)
		_, _ = w.fleet.RunScript(context.Background(), fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test install"})
	}()
	var list []wire.Event
	a.call("GET", "/router/listen?wait_time=20", nil, a.router).into(t, &list)
	require.Len(t, list, 1)
	got := a.call("GET", "/router/listen?wait_time=0&"+url.Values{"ack[]": {list[0].UUID}}.Encode(), nil, a.router)
	require.Equal(t, "[]", got.body)

	// Another instance neither sees nor takes what is not its own.
	w.run("web-1", "Test install")
	b := w.login(w.server("web-2")).operational("i-2")
	require.Equal(t, "[]", b.call("GET", "/router/listen?wait_time=0", nil, b.router).body)
	a.call("GET", "/router/listen?wait_time=0", nil, a.router).into(t, &list)
	b.call("GET", "/router/listen?wait_time=0&"+url.Values{"ack[]": {list[0].UUID}}.Encode(), nil, b.router)
	a.call("GET", "/router/listen?wait_time=0", nil, a.router).into(t, &list)
	require.Len(t, list, 1)

	// What nobody takes in time is dropped, and the audit entry says so.
	w.skew.Store(int64(fleet.EventTime + time.Minute))
	require.NoError(t, w.fleet.ExpireEvents(context.Background()))
	require.Contains(t, w.trail("web-1"), "Aborted: Test install")
}

func TestRouterRefuses(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1"))
	require.Equal(t, 401, w.call("GET", "/router/connect", nil, func(r *http.Request) { r.Header.Set("X-API-Version", "2.0") }).status)
	require.Equal(t, 422, w.call("GET", "/router/listen", nil, a.auth).status, "version 1.5")
	require.Equal(t, 400, a.call("GET", "/router/listen?wait_time=x", nil, a.router).status)
	require.Equal(t, 422, a.call("POST", "/router/request", map[string]any{"type": "/registrar/remove"}, a.router).status)
	require.Equal(t, 422, a.call("POST", "/router/push", map[string]any{"type": "/instance_scheduler/execute"}, a.router).status, "no agent commands another")

	_, err := w.fleet.RunScript(t.Context(), fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test start"})
	require.ErrorContains(t, err, "no running instance")
	a.operational("i-1")
	for _, c := range []struct {
		req  fleet.RunRequest
		want string
	}{
		{fleet.RunRequest{Script: "nope"}, "not found"},
		{fleet.RunRequest{Script: "Test start", Thread: "Bad thread"}, "thread"},
		{fleet.RunRequest{Script: "Test start", Inputs: values(t, []string{"NOPE=text:1"})}, "has no input NOPE"},
		{fleet.RunRequest{Script: "Test start", Inputs: values(t, []string{"PORT=cred:NOPE"})}, "needs values for: PASSWORD, PORT"},
	} {
		_, err := w.fleet.RunScript(t.Context(), fleet.DefaultAccount, "web-1", c.req)
		require.ErrorContains(t, err, c.want)
	}
	// An agent may run the operational scripts of its template only.
	got := a.call("POST", "/api/right_net/scheduler/schedule_right_script", map[string]any{"right_script": "Test install"}, a.auth)
	require.Equal(t, 422, got.status)
	require.Contains(t, got.body, "no operational script")
	require.Equal(t, 422, a.call("POST", "/api/right_net/scheduler/shutdown", map[string]any{"kind": "explode"}, a.auth).status)
	require.Equal(t, 422, a.call("POST", "/api/right_net/scheduler/schedule_recipe", map[string]any{"recipe": "a::b"}, a.auth).status)
	a.do("POST", "/api/right_net/scheduler/shutdown", map[string]any{"kind": "stop"}, 204)
	var list []wire.Event
	a.call("GET", "/router/listen?wait_time=0", nil, a.router).into(t, &list)
	require.JSONEq(t, `{"kind":"stop"}`, string(list[0].Data))
}

func TestTags(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")
	b := w.login(w.server("web-2")).operational("i-2")
	add := func(x *agent, want int, href string, tags ...string) {
		t.Helper()
		x.do("POST", "/api/tags/multi_add", wire.TagsRequest{ResourceHrefs: []string{href}, Tags: tags}, want)
	}
	add(a, 204, a.self, "app:role=web", "app:size=1", "plain")
	add(a, 204, a.self, "app:size=2")
	add(b, 204, b.self, "app:role=db")
	add(a, 403, b.self, "app:role=web")
	add(a, 422, a.self, "bad tag:=")
	names := func(body any, path string) map[string][]string {
		t.Helper()
		var list []wire.TaggedResource
		a.do("POST", path, body, 200).into(t, &list)
		m := map[string][]string{}
		for _, r := range list {
			m[r.Href()] = []string{}
			for _, tag := range r.Tags {
				m[r.Href()] = append(m[r.Href()], tag.Name)
			}
		}
		return m
	}
	require.Equal(t, map[string][]string{a.self: {"app:role=web", "app:size=2", "plain"}}, names(wire.TagsRequest{ResourceHrefs: []string{a.self}}, "/api/tags/by_resource"))
	by := func(all string, tags ...string) map[string][]string {
		return names(wire.TagsRequest{ResourceType: "instances", Tags: tags, MatchAll: all}, "/api/tags/by_tag")
	}
	require.Equal(t, map[string][]string{a.self: {"app:role=web"}, b.self: {"app:role=db"}}, by("", "app:role=*"))
	require.Equal(t, map[string][]string{b.self: {"app:role=db"}}, by("", "app:role=db"))
	require.Len(t, by("true", "app:role=*", "plain"), 1)
	require.Equal(t, []string{"app:role=web", "app:size=2"}, by("", "app:*")[a.self])
	require.Empty(t, by("", "nope:x=y"))
	var answer map[string]struct{ Tags []string }
	b.call("POST", "/router/request", map[string]any{"type": "/router/query_tags", "payload": map[string]any{"tags": []string{"plain"}}}, b.router).into(t, &answer)
	require.Equal(t, []string{"plain"}, answer[a.self].Tags)
	a.do("GET", a.self, nil, 200)
	a.do("GET", b.self, nil, 200) // instances of the account are no secret
	a.do("POST", "/api/tags/multi_delete", wire.TagsRequest{ResourceHrefs: []string{a.self}, Tags: []string{"plain", "never"}}, 204)
	require.Empty(t, by("", "plain"))
}

func TestLoginPolicy(t *testing.T) {
	w := start(t)
	a := w.login(w.server("web-1")).operational("i-1")
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtu5pZxkVxkl6SKxsfrmi4HlXBhbnqvAQ/hRk1Bc4Vj ann@home"
	require.ErrorContains(t, w.fleet.SetLoginUser(t.Context(), fleet.By{Account: 1, Who: "test"}, store.LoginUser{Username: "root", PublicKeys: []string{key}}), "user name")
	require.ErrorContains(t, w.fleet.SetLoginUser(t.Context(), fleet.By{Account: 1, Who: "test"}, store.LoginUser{Username: "ann", PublicKeys: []string{`command="x" ` + key}}), "without options")
	require.NoError(t, w.fleet.SetLoginUser(t.Context(), fleet.By{Account: 1, Who: "test"}, store.LoginUser{Username: "ann", PublicKeys: []string{key}, Superuser: true}))
	require.NoError(t, w.fleet.SetLoginUser(t.Context(), fleet.By{Account: 1, Who: "test"}, store.LoginUser{Username: "old", PublicKeys: []string{key}, ExpiresAt: time.Now().Add(-time.Hour)}))
	require.Equal(t, "[]", a.call("GET", "/router/listen?wait_time=0", nil, a.router).body, "logins are not managed here")
	a.do("POST", "/api/tags/multi_add", wire.TagsRequest{ResourceHrefs: []string{a.self}, Tags: []string{"rs_login:state=user"}}, 204)
	require.NoError(t, w.fleet.RemoveLoginUser(t.Context(), fleet.By{Account: 1, Who: "test"}, "old"))
	var list []wire.Event
	a.call("GET", "/router/listen?wait_time=5", nil, a.router).into(t, &list)
	require.Equal(t, wire.ActorLoginPolicy, list[0].Path)
	var p wire.LoginPolicy
	require.NoError(t, json.Unmarshal(list[0].Data, &p))
	require.Len(t, p.Users, 1)
	require.Equal(t, "ann", p.Users[0].Username)
	require.True(t, p.Users[0].Superuser)
}

// Many agents wait at once, and each gets its own event and no other.
func TestManyAgents(t *testing.T) {
	agents := 40
	if n, err := strconv.Atoi(os.Getenv("RIGHTIMAGE_AGENTS")); err == nil {
		agents = n
	}
	w := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conns := make([]*websocket.Conn, agents)
	for n := range agents {
		name := "web-" + itoa(int64(n))
		a := w.login(w.server(name)).operational("i-" + name)
		conns[n] = a.connect(ctx)
	}
	began := time.Now()
	audits := make([]int64, agents)
	for n := range agents {
		audits[n] = w.run("web-"+itoa(int64(n)), "Test install")
	}
	queued := time.Since(began)
	for n, conn := range conns {
		var e wire.Event
		require.NoError(t, wsjson.Read(ctx, conn, &e))
		var b wire.ExecutableBundle
		require.NoError(t, json.Unmarshal(e.Data, &b))
		require.Equal(t, audits[n], b.AuditID)
		require.NoError(t, wsjson.Write(ctx, conn, wire.Ack{Ack: e.UUID}))
	}
	t.Logf("%d agents: queued in %s, all delivered after %s", agents, queued, time.Since(began))
	require.Eventually(t, func() bool {
		events, err := w.fleet.DB.EventsAfter(ctx, 0)
		return err == nil && len(events) == 0
	}, 20*time.Second, 50*time.Millisecond, "all are acknowledged")
}
