// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// The whole life of an instance, with the calls in RightLink's order.
func TestLifeOfAnInstance(t *testing.T) {
	w := start(t)
	w.credential("PW", "s3cret-value")
	id := w.server("web-1", "PASSWORD=cred:PW")
	require.Equal(t, "inactive", w.view("web-1").State)

	a := w.call("POST", "/api/oauth2", rl6, id.basic)
	require.Equal(t, 200, a.status, a.body)
	var o map[string]any
	a.into(t, &o)
	require.Equal(t, map[string]any{"access_token": o["access_token"], "expires_in": 7200.0, "token_type": "bearer", "mode": "http", "shard_id": 1.0,
		"api_url": w.base + "/api", "router_url": w.base + "/router"}, o)
	for _, path := range []string{"/api/health-check", "/router/health-check", "/api/health-check/"} {
		require.Equal(t, 200, w.call("GET", path, nil, func(r *http.Request) { r.Header.Del("X-API-Version") }).status, path)
	}

	ag := w.login(id)
	require.Regexp(t, `^/api/clouds/1/instances/[0-9A-F]{12}$`, ag.self)
	var d wire.DeclareResponse
	ag.do("POST", "/api/right_net/booter/declare", `{"r_s_version":24,"right_link_version":"6.3.7","resource_uid":"i-0abc"}`, 200).into(t, &d)
	require.Equal(t, fmt.Sprintf("rs-instance-%x-%s", sha1.Sum([]byte(id.id+"*"+id.token)), id.id), d.AgentID)
	require.Equal(t, "pending", w.view("web-1").State)

	ag.record("booting", "pending", "", 204)
	created := ag.do("POST", "/api/audit_entries", map[string]any{"audit_entry": map[string]any{"auditee_href": ag.self, "summary": "booting", "detail": "start\n"}}, 201)
	href := created.header.Get("Location")
	require.Regexp(t, `^/api/audit_entries/\d+$`, href)
	auditID := strings.TrimPrefix(href, "/api/audit_entries/")

	var b wire.ExecutableBundle
	ag.do("GET", "/api/right_net/booter/get_boot_bundle?audit_id="+auditID, nil, 200).into(t, &b)
	require.Equal(t, auditID, itoa(b.AuditID))
	require.Equal(t, []string{"Test install", "Test start"}, []string{b.Executables[0].Nickname, b.Executables[1].Nickname})
	run := b.Executables[1]
	require.True(t, run.Ready)
	require.Equal(t, map[string]string{"PORT": "8080", "TITLE": "Hello", "PASSWORD": "s3cret-value", "COLORS": "red,blue", "MODE": "fast", "OWN_ID": "i-0abc"}, run.Parameters)
	require.Equal(t, []string{"PASSWORD"}, run.Secrets)
	require.Equal(t, "default", b.Policy.ThreadName)
	require.True(t, strings.HasPrefix(b.Executables[0].Source, "#!/bin/sh\n"))
	require.Equal(t, "curl", b.Executables[0].Packages)

	for _, file := range b.Executables[0].Attachments {
		got := w.call("GET", file.URL, nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+file.Token) })
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, file.Digest, fmt.Sprintf("%x", sha256.Sum256([]byte(got.body))), file.FileName)
	}

	ag.do("POST", href+"/append", map[string]any{"detail": "more\n", "offset": 6}, 204)
	ag.do("POST", href+"/append", map[string]any{"summary": "completed", "notify": "None", "offset": 0}, 204)
	require.Equal(t, "start\nmore\n", ag.do("GET", href+"/detail", nil, 200).body)
	shown := ag.do("GET", href, nil, 200)
	require.Equal(t, "application/vnd.rightscale.audit_entry+json;charset=utf-8", shown.header.Get("Content-Type"))
	require.Contains(t, shown.body, `"summary":"completed"`)
	require.Contains(t, shown.body, `"detail_size":11`)
	ag.record("operational", "booting", "", 204)
	require.Equal(t, "operational", w.view("web-1").State)
	require.Equal(t, "i-0abc", w.view("web-1").Instance.ResourceUID)

	// A reboot: the same record, no second instance.
	ag.record("decommissioning", "operational", "", 204)
	var dec wire.ExecutableBundle
	ag.do("GET", "/api/right_net/booter/get_decommission_bundle", nil, 200).into(t, &dec)
	require.Equal(t, "Test stop", dec.Executables[0].Nickname)
	require.NotZero(t, dec.AuditID)
	ag.record("decommissioned", "decommissioning", "reboot", 204)
	again := w.login(id).declare("i-0abc")
	require.Equal(t, ag.self, again.self)
	again.record("booting", "decommissioned", "", 204)
	again.record("operational", "booting", "", 204)
	list, err := w.fleet.Instances(context.Background(), fleet.DefaultAccount)
	require.NoError(t, err)
	require.Len(t, list, 1)

	// The end.
	again.record("decommissioning", "operational", "", 204)
	again.record("decommissioned", "decommissioning", "terminate", 204)
	v := w.view("web-1")
	require.Equal(t, "inactive", v.State)
	require.Equal(t, "terminated", v.Instance.State)
	require.Equal(t, 401, w.call("POST", "/api/oauth2", rl6, id.basic).status, "the token ended with its instance")
	again.do("POST", href+"/append", map[string]any{"detail": "bye\n", "offset": 11}, 204)
	again.do("GET", "/api/right_net/booter/get_boot_bundle", nil, 403)
	trail := w.trail("web-1")
	for _, want := range []string{"server created", "token " + id.id + " issued", "i-0abc enrolled with token " + id.id, "i-0abc: pending → booting",
		"i-0abc declared itself again", "i-0abc: decommissioning → terminated (terminate)"} {
		require.Contains(t, trail, want)
	}

	_, err = w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", "")
	require.NoError(t, err)
	next := w.login(w.identity("web-1")).declare("i-0def")
	require.NotEqual(t, ag.self, next.self)
	require.Equal(t, "pending", w.view("web-1").State)

	logs := w.logs.String()
	for _, hidden := range []string{id.token, ag.bearer, again.bearer, "s3cret-value", b.Executables[0].Attachments[0].Token} {
		require.NotContains(t, logs, hidden)
	}
	require.Contains(t, logs, "path=/api/right_net/booter/declare status=200")
}

func TestInputsBecomeReady(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1", "PASSWORD=cred:LATER", "PORT=text:9090", "TITLE=inherit", "COLORS=blank", "MODE=ignore", "OWN_ID=env:db-1:PRIVATE_IP")).declare("i-1")
	b := ag.boot()
	require.NotZero(t, b.AuditID, "a bundle always brings an entry to write to")
	require.True(t, b.Executables[0].Ready)
	run := b.Executables[1]
	require.False(t, run.Ready)
	require.Equal(t, map[string][]string{"PASSWORD": {"unready"}, "OWN_ID": {"unready"}}, run.InputFlags)
	require.Equal(t, map[string]string{"PORT": "9090", "TITLE": "Hello", "COLORS": ""}, run.Parameters)

	missing := "/api/right_net/booter/get_missing_attributes?scripts_ids[]=" + itoa(run.ID)
	require.JSONEq(t, `[]`, ag.do("GET", missing, nil, 200).body)
	w.credential("LATER", "now")
	require.JSONEq(t, `[]`, ag.do("GET", missing, nil, 200).body)
	w.login(w.server("db-1", "PASSWORD=text:x")).declare("i-2")
	var ready []wire.RightScript
	ag.do("GET", missing, nil, 200).into(t, &ready)
	require.Len(t, ready, 1)
	require.Equal(t, "now", ready[0].Parameters["PASSWORD"])
	require.Equal(t, "10.0.0.7", ready[0].Parameters["OWN_ID"])
	require.Nil(t, ready[0].InputFlags)

	// A required input without a value.
	none := w.login(w.server("web-2")).declare("i-3").boot()
	require.Equal(t, []string{"unready"}, none.Executables[1].InputFlags["PASSWORD"])
}

func TestClonesAreRefused(t *testing.T) {
	w := start(t)
	id := w.server("web-1")
	first := w.login(id)
	first.do("GET", "/api/right_net/booter/get_boot_bundle", nil, 403) // not declared yet
	first.record("booting", "pending", "", 403)
	first.declare("i-first")
	for range 3 {
		clone := w.login(id)
		got := clone.do("POST", "/api/right_net/booter/declare", map[string]any{"resource_uid": "i-clone"}, 403)
		require.Equal(t, "ActionNotAllowed: token "+id.id+" belongs to instance i-first; i-clone cannot use it", got.body)
		clone.do("GET", "/api/right_net/booter/get_boot_bundle", nil, 403)
	}
	require.Equal(t, 1, strings.Count(w.trail("web-1"), "enrolment refused: i-clone"))
	first.boot()
	require.Equal(t, "i-first", w.view("web-1").Instance.ResourceUID)

	// Of many at once exactly one wins.
	id = w.server("web-2")
	agents := make([]*agent, 8)
	for i := range agents {
		agents[i] = w.login(id)
	}
	var wg sync.WaitGroup
	statuses := make([]int, len(agents))
	for i, ag := range agents {
		wg.Go(func() {
			statuses[i] = ag.call("POST", "/api/right_net/booter/declare", map[string]any{"resource_uid": fmt.Sprintf("i-%d", i)}, ag.auth).status
		})
	}
	wg.Wait()
	won := 0
	for _, s := range statuses {
		require.Contains(t, []int{200, 403}, s)
		if s == 200 {
			won++
		}
	}
	require.Equal(t, 1, won)

	// A relaunch shuts the old instance out at once.
	_, err := w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", "")
	require.NoError(t, err)
	first.do("GET", "/api/right_net/booter/get_boot_bundle", nil, 403)
	require.Equal(t, 401, w.call("POST", "/api/oauth2", rl6, first.basic).status)
}

func TestRecordState(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1")).declare("i-1")
	ag.record("booting", "pending", "", 204)
	ag.record("booting", "pending", "", 204) // its first answer was lost
	got := ag.record("operational", "pending", "", 422)
	require.Contains(t, got.body, "currently recorded state is booting")
	ag.record("operational", "booting", "", 204)
	ag.record("stranded", "", "", 204) // no from_state: no check
	for _, bad := range []wire.StateRecord{{State: "happy"}, {}, {State: "terminated"}, {State: "decommissioned", Kind: "explode"}} {
		ag.do("PUT", "/api/right_net/state_recorder/record", bad, 422)
	}
	ag.do("PUT", "/api/right_net/state_recorder/record", `{"state":"decommissioned","user_id":0,"skip_db_update":true,"kind":"stop"}`, 204)
	require.Equal(t, "decommissioned", w.view("web-1").State)
	var changes []string
	for _, c := range w.view("web-1").Instance.History {
		changes = append(changes, c.From+">"+c.To)
	}
	require.Equal(t, []string{"pending>booting", "booting>operational", "operational>stranded", "stranded>decommissioned"}, changes)
}

func TestAuditEntries(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1")).declare("i-1")
	other := w.login(w.server("web-2")).declare("i-2")
	entry := func(a *agent, href, summary, detail string, want int) answer {
		return a.do("POST", "/api/audit_entries", wire.AuditEntry{Entry: wire.AuditEntryFields{AuditeeHref: href, Summary: summary, Detail: detail}, UserEmail: "me@example.net"}, want)
	}
	href := entry(ag, ag.self, strings.Repeat("ä", 200)+"\n\x1b[31m", "", 201).header.Get("Location")
	var e map[string]any
	ag.do("GET", href, nil, 200).into(t, &e)
	require.LessOrEqual(t, len(e["summary"].(string)), wire.MaxSummary)
	require.True(t, strings.HasSuffix(e["summary"].(string), "..."))
	entry(ag, other.self, "x", "", 403)
	entry(ag, fleet.ServerHref(w.view("web-1").ID), "on my server", "", 201)

	app := func(body string, want int) { ag.do("POST", href+"/append", body, want) }
	app(`{"detail":"0123456789","offset":0}`, 204)
	app(`{"detail":"0123456789","offset":0}`, 204)   // repeated
	app(`{"detail":"56789abc","offset":5}`, 204)     // overlaps
	app(`{"detail":"XYZ","offset":"20"}`, 204)       // early; as text
	app(`{"detail":"end"}`, 204)                     // at the end
	app(`{"detail":"defghijk-XY","offset":13}`, 204) // fills the gap, overlaps
	app(`{"detail":"x","offset":-1}`, 422)
	app(`{"summary":"s","notify":"Loud"}`, 422)
	require.Equal(t, "0123456789abcdefghijXYZend", ag.do("GET", href+"/detail", nil, 200).body)

	for _, path := range []string{href, href + "/detail"} {
		require.Contains(t, other.do("GET", path, nil, 422).body, "ResourceNotFound")
	}
	other.do("POST", href+"/append", `{"detail":"intruder"}`, 422)
	other.do("GET", "/api/right_net/booter/get_boot_bundle?audit_id="+strings.TrimPrefix(href, "/api/audit_entries/"), nil, 422)

	gap := entry(ag, ag.self, "gap", "ab", 201).header.Get("Location")
	ag.do("POST", gap+"/append", `{"detail":"z","offset":10}`, 204)
	require.Equal(t, "ab\n[8 bytes did not arrive]\nz", ag.do("GET", gap+"/detail", nil, 200).body)
	ag.do("POST", gap+"/append", fmt.Sprintf(`{"detail":"zzzz","offset":%d}`, fleet.MaxDetail-2), 204)
	require.Contains(t, ag.do("GET", gap+"/detail", nil, 200).body, "the rest was dropped")

	var wg sync.WaitGroup
	many := entry(ag, ag.self, "many", "", 201).header.Get("Location")
	for i := range 20 {
		wg.Go(func() {
			ag.call("POST", many+"/append", map[string]any{"detail": fmt.Sprintf("%02d\n", i), "offset": i * 3}, ag.auth)
		})
	}
	wg.Wait()
	require.Len(t, strings.Fields(ag.do("GET", many+"/detail", nil, 200).body), 20)
}

func TestAttachmentTokens(t *testing.T) {
	w := start(t)
	ag := w.login(w.server("web-1")).declare("i-1")
	files := ag.boot().Executables[0].Attachments
	get := func(url, token string, change ...func(*http.Request)) answer {
		return w.call("GET", url, nil, append(change, func(r *http.Request) {
			r.Header.Del("X-API-Version")
			r.Header.Set("Authorization", "Bearer "+token)
		})...)
	}
	ranged := get(files[1].URL, files[1].Token, func(r *http.Request) { r.Header.Set("Range", "bytes=6-") })
	require.Equal(t, 206, ranged.status)
	require.Equal(t, "notes\n", ranged.body)
	for name, token := range map[string]string{"none": "", "other file": files[0].Token, "bearer": ag.bearer, "junk": "1.2.x", "parts": "a.b.c.d",
		"later": strings.Replace(files[1].Token, ".", "0.", 1)} {
		require.Equal(t, 403, get(files[1].URL, token).status, name)
	}
	require.Equal(t, 403, get("/api/right_net/attachments/..%2f..%2fetc", files[1].Token).status)
	w.skew.Store(int64(3 * time.Hour))
	require.Equal(t, 403, get(files[1].URL, files[1].Token).status, "expired")
	w.skew.Store(0)
	_, err := w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", "")
	require.NoError(t, err)
	require.Equal(t, 403, get(files[1].URL, files[1].Token).status, "revoked")
}
