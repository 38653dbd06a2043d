// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func form(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }

// cheap is the cost of passwords here: next to nothing.
var cheap = access.Cost{Time: 1, Memory: 8, Threads: 1}

func peopleOf(f *fleet.Service) *access.Service {
	people := access.New(f.DB, f.Now)
	people.Cost = cheap
	return people
}

func TestSessions(t *testing.T) {
	w := start(t)
	people := peopleOf(w.fleet)
	_, err := people.AddUser(t.Context(), 1, access.NewUser{Email: "ann@example.net", Password: "correct horse battery", Roles: []access.Role{access.Observer}}, "test")
	require.NoError(t, err)
	login := func(password string) answer {
		return w.call("POST", "/api/session/", map[string]string{"email": "Ann@example.net", "password": password, "account_href": "/api/accounts/1"})
	}
	got := login("correct horse battery")
	require.Equal(t, 204, got.status, got.body)
	resp := http.Response{Header: got.header}
	cookies := map[string]*http.Cookie{}
	for _, c := range resp.Cookies() {
		cookies[c.Name] = c
		require.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteStrictMode && c.Path == "/api", c.String())
	}
	require.Len(t, cookies, 2)
	auth := func(r *http.Request) { r.AddCookie(cookies[sessionCookie]); r.Header.Set("X-Account", "1") }
	require.Equal(t, 200, w.call("GET", "/api/clouds.json", nil, auth).status)
	who := w.call("GET", "/api/sessions?view=whoami", nil, auth)
	require.Contains(t, who.body, `"rel":"user"`)
	require.Contains(t, w.call("GET", "/api/sessions/accounts", nil, auth).body, `/api/accounts/1`)
	accounts := w.call("GET", "/api/sessions/accounts?"+url.Values{"email": {"ann@example.net"}, "password": {"correct horse battery"}}.Encode(), nil)
	require.Equal(t, "application/vnd.rightscale.account+json;type=collection;charset=utf-8", accounts.header.Get("Content-Type"))
	require.Equal(t, 403, w.call("POST", "/api/deployments", map[string]any{"deployment": map[string]string{"name": "x"}}, auth).status, "an observer changes nothing")

	// The form of curl, and what is missing.
	require.Equal(t, 204, w.call("POST", "/api/sessions", "email=ann%40example.net&password=correct+horse+battery&account_href=/api/accounts/1", form).status)
	require.Equal(t, 400, w.call("POST", "/api/sessions", map[string]string{"email": "ann@example.net"}).status)
	require.Equal(t, 400, w.call("POST", "/api/sessions", map[string]string{"email": "a@b", "password": "x", "account_href": "/api/users/1"}).status)

	require.Equal(t, 204, w.call("DELETE", "/api/sessions", nil, auth).status)
	got = w.call("GET", "/api/clouds", nil, auth)
	require.Equal(t, 403, got.status)
	require.Equal(t, "Session cookie is expired or invalid", got.body)
	for range wrongLogins.PerName {
		require.Equal(t, 401, login("wrong horse battery").status)
	}
	got = login("correct horse battery")
	require.Equal(t, 429, got.status)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	w.skew.Store(int64(2 * time.Minute))
	require.Equal(t, 204, login("correct horse battery").status)
	require.NotContains(t, w.logs.String(), "horse")
	require.Contains(t, w.logs.String(), "user=ann@example.net")
}

func TestShapes(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Admin)
	made := w.call("POST", "/api/deployments", "deployment[name]=d1&deployment[description]=x", ann.auth, form)
	require.Equal(t, 201, made.status, made.body)
	require.Regexp(t, `^/api/deployments/\d+$`, made.header.Get("Location"))
	href := made.header.Get("Location")
	one := ann.do("GET", href+".json", nil, 200)
	require.Equal(t, "application/vnd.rightscale.deployment+json;charset=utf-8", one.header.Get("Content-Type"))
	require.JSONEq(t, `{"name":"d1","description":"x","locked":false,"server_tag_scope":"deployment","links":[{"rel":"self","href":"`+href+`"},{"rel":"inputs","href":"`+href+`/inputs"},
		{"rel":"servers","href":"`+href+`/servers"},{"rel":"server_arrays","href":"`+href+`/server_arrays"},{"rel":"alerts","href":"`+href+`/alerts"}],
		"actions":[{"rel":"clone"},{"rel":"lock"}]}`, one.body)

	index := func(query string) []resource {
		var list []resource
		got := ann.do("GET", "/api/deployments?"+query, nil, 200)
		require.Equal(t, "application/vnd.rightscale.deployment+json;type=collection;charset=utf-8", got.header.Get("Content-Type"))
		got.into(t, &list)
		return list
	}
	require.Len(t, index(""), 2)
	require.Len(t, index("filter[]=name==D1"), 1, "part of it, in any case")
	require.Len(t, index("filter[]=name<>d1"), 1)
	require.Len(t, index("filter[]=name==d&filter[]=description==x"), 1)
	require.Empty(t, index("filter[]=name==nope"))
	require.Contains(t, index("view=inputs_2_0")[0], "inputs")

	for _, tc := range []struct {
		method, path string
		body         any
		status       int
		text         string
	}{
		{"GET", "/api/deployments?filter[]=color==red", nil, 400, "ParameterError: parameter filter[]: want one of name"},
		{"GET", "/api/deployments?filter[]=name", nil, 400, "want name==text"},
		{"GET", "/api/deployments?view=everything", nil, 400, "view: want default, inputs"},
		{"GET", "/api/deployments/999", nil, 422, "ResourceNotFound: Couldn't find Deployment with ID=999 "},
		{"GET", "/api/deployments/x", nil, 400, "the deployment in the path is not a number"},
		{"GET", "/api/clouds/1/instances/NOPE", nil, 422, "ResourceNotFound: Couldn't find Instance with ID=NOPE "},
		{"GET", "/api/nothing", nil, 404, "no such route"},
		{"PATCH", "/api/deployments", nil, 405, "method not allowed"},
		{"POST", "/api/deployments", nil, 400, "ParameterError: parameter deployment[name] is missing"},
		{"POST", "/api/deployments", `{"deployment":{"name":"d1"}}`, 422, "ActionNotAllowed: deployment &quot;d1&quot; exists already"},
		{"POST", "/api/deployments", `{"deployment":{"name":" d"}}`, 422, "want 1 to 255"},
		{"POST", "/api/deployments", `{"deployment":{"name":"d\u0000"}}`, 422, "printable"},
		{"POST", "/api/deployments", `{"deployment":`, 400, "cannot be read"},
		{"POST", "/api/deployments", `{"deployment":{"name":"` + strings.Repeat("x", maxBody) + `"}}`, 413, "too long"},
		{"GET", "/api/audit_entries", nil, 400, "start_date is missing"},
		{"GET", "/api/audit_entries", `{"start_date":"2026/01/01 00:00:00 +0000","end_date":"2025/01/01 00:00:00 +0000","limit":"1"}`, 422, "end_date is before"},
	} {
		got := ann.call(tc.method, tc.path, tc.body, ann.auth)
		require.Equal(t, tc.status, got.status, "%s %s: %s", tc.method, tc.path, got.body)
		require.Contains(t, strings.ReplaceAll(got.body, `"`, "&quot;"), tc.text)
		require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
	}
	require.Equal(t, 406, w.call("GET", "/api/clouds", nil, ann.auth, func(r *http.Request) { r.Header.Set("Accept", "application/xml") }).status)
	require.Equal(t, 200, w.call("GET", "/api/clouds", nil, ann.auth, func(r *http.Request) { r.Header.Set("Accept", "text/html, application/json;q=0.9") }).status)
	require.Equal(t, 422, w.call("GET", "/api/clouds", nil, ann.auth, func(r *http.Request) { r.Header.Set("X-API-Version", "1.6") }).status)
}

func TestDeployments(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Operator)
	href := ann.made("/api/deployments", map[string]any{"deployment": map[string]any{"name": "d"}})
	ann.do("PUT", href+"/inputs/multi_update", map[string]any{"inputs": map[string]string{"PORT": "text:9", "PASSWORD": "cred:X"}}, 204)
	copied := ann.made(href+"/clone", nil)
	require.Contains(t, ann.do("GET", copied, nil, 200).body, `"name":"d v1"`)
	require.Contains(t, ann.do("GET", copied+"/inputs?view=inputs_2_0", nil, 200).body, `{"name":"PORT","value":"text:9"}`)
	ann.do("POST", href+"/lock", nil, 204)
	require.Contains(t, ann.do("GET", href, nil, 200).body, `{"rel":"unlock"}`)
	require.Contains(t, ann.do("PUT", href, map[string]any{"deployment": map[string]any{"name": "x"}}, 422).body, "is locked")
	ann.do("DELETE", href, nil, 422)
	ann.do("POST", href+"/unlock", nil, 204)
	server := ann.made(href+"/servers", map[string]any{"server": map[string]any{"name": "s", "instance": map[string]any{"cloud_href": "/api/clouds/1", "server_template_href": w.template()}}})
	require.Contains(t, ann.do("GET", server, nil, 200).body, `{"rel":"deployment","href":"`+href+`"}`)
	require.Contains(t, ann.do("GET", href+"/servers", nil, 200).body, server)
	require.Equal(t, "[]", ann.do("GET", copied+"/servers", nil, 200).body)
	ann.do("GET", copied+strings.TrimPrefix(server, "/api"), nil, 422)
	require.Contains(t, ann.do("DELETE", href, nil, 422).body, "has 1 servers")
	ann.do("PUT", server, map[string]any{"server": map[string]any{"deployment_href": copied, "name": "renamed"}}, 204)
	ann.do("DELETE", href, nil, 204)
	require.Contains(t, ann.do("GET", server+"?view=instance_detail", nil, 200).body, `"next_instance":{`)
}

// Precedence: script, ServerTemplate, deployment, server, instance.
func TestInputLevels(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Admin)
	st := ann.made("/api/server_templates", map[string]any{"server_template": map[string]any{"name": "t"}})
	source := "#!/bin/sh\n# ---\n# RightScript Name: x\n# Inputs:\n#   WHO:\n#     Input Type: single\n#     Required: false\n#     Default: text:script\n# ...\necho $WHO\n"
	script := ann.made("/api/right_scripts", map[string]any{"right_script": map[string]any{"name": "x", "source": source}})
	ann.made(st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": script, "sequence": "boot"}})
	d := ann.made("/api/deployments", map[string]any{"deployment": map[string]any{"name": "d"}})
	server := ann.made("/api/servers", map[string]any{"server": map[string]any{"name": "s", "deployment_href": d, "instance": map[string]any{"cloud_href": "/api/clouds/1", "server_template_href": st}}})
	view := w.view("s")
	require.NoError(t, w.fleet.DB.InTx(t.Context(), func(q *store.Queries) error {
		return q.SetEnrolment(t.Context(), view.ID, wire.EnrolLegacy, w.fleet.Now())
	}))
	row, err := w.fleet.ServerByID(t.Context(), 1, view.ID)
	require.NoError(t, err)
	a := w.login(w.identity("s")).declare("i-1")
	next := fleet.NextHref(row)
	seen := func() string { return a.boot().Executables[0].Parameters["WHO"] }
	shown := func(href string) string {
		var list []map[string]string
		ann.do("GET", href+"/inputs?view=inputs_2_0", nil, 200).into(t, &list)
		require.Len(t, list, 1)
		return list[0]["value"]
	}
	require.Equal(t, "script", seen())
	for _, level := range []struct{ href, name string }{{st, "template"}, {d, "deployment"}, {next, "server"}, {a.self, "instance"}} {
		ann.do("PUT", level.href+"/inputs/multi_update", map[string]any{"inputs": map[string]string{"WHO": "text:" + level.name}}, 204)
		require.Equal(t, level.name, seen())
		require.Equal(t, "text:"+level.name, shown(level.href))
	}
	require.Equal(t, "text:server", shown(next), "one instance's value is not the server's")
	for _, level := range []struct{ href, below string }{{a.self, "server"}, {next, "deployment"}, {d, "template"}, {st, "script"}} {
		// The list form of an update, as a form.
		got := w.call("PUT", level.href+"/inputs/multi_update", "inputs[][name]=WHO&inputs[][value]=inherit", ann.auth, form)
		require.Equal(t, 204, got.status, got.body)
		require.Equal(t, level.below, seen())
	}
	require.Equal(t, "inherit", shown(d))
	ann.do("PUT", st+"/inputs/multi_update", map[string]any{"inputs": map[string]string{"WHO": "ignore"}}, 204)
	require.Contains(t, ann.do("GET", st+"/inputs", nil, 200).body, `"ignore:$ignore"`, "the old form")
	_, set := a.boot().Executables[0].Parameters["WHO"]
	require.False(t, set)
	ann.do("PUT", st+"/inputs/multi_update", map[string]any{"inputs": map[string]string{"WHO": "nonsense"}}, 400)
	ann.do("PUT", st+"/inputs/multi_update", nil, 400)
	require.Contains(t, ann.do("GET", server, nil, 200).body, `"state":"pending"`)
}

func TestCredentials(t *testing.T) {
	w := start(t)
	ann, bob := w.person(1, access.Admin), w.person(1, access.Operator)
	href := bob.made("/api/credentials", map[string]any{"credential": map[string]any{"name": "PW", "value": "hunter2 is secret"}})
	for _, path := range []string{href, "/api/credentials"} {
		require.NotContains(t, bob.do("GET", path, nil, 200).body, "hunter2")
		bob.do("GET", path+"?view=sensitive", nil, 403)
		require.Contains(t, ann.do("GET", path+"?view=sensitive", nil, 200).body, `"value":"hunter2 is secret"`)
	}
	bob.do("PUT", href, map[string]any{"credential": map[string]any{"name": "RENAMED"}}, 204)
	require.Contains(t, ann.do("GET", href+"?view=sensitive", nil, 200).body, "hunter2", "it opens under the new name")
	bob.do("PUT", href, map[string]any{"credential": map[string]any{"value": "changed"}}, 204)
	require.Contains(t, ann.do("GET", href+"?view=sensitive", nil, 200).body, `"value":"changed"`)
	bob.do("POST", "/api/credentials", map[string]any{"credential": map[string]any{"name": "A:B", "value": "x"}}, 422)
	bob.do("DELETE", href, nil, 204)
	ann.do("GET", href, nil, 422)
	trail := ann.do("GET", "/api/audit_entries", map[string]any{"start_date": "2020/01/01 00:00:00 +0000", "end_date": "2040/01/01 00:00:00 +0000", "limit": 100}, 200).body
	for _, text := range []string{"credential PW created", "value of credential PW was read", "credential RENAMED changed", "credential RENAMED deleted", bob.email} {
		require.Contains(t, trail, text)
	}
	require.NotContains(t, trail+w.logs.String(), "hunter2")
}

func upload(filename, content string) (body string, set func(*http.Request)) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	_ = m.WriteField("right_script_attachment[filename]", filename)
	part, _ := m.CreateFormFile("right_script_attachment[content]", "/home/ann/"+filename)
	_, _ = part.Write([]byte(content))
	_ = m.Close()
	return b.String(), func(r *http.Request) { r.Header.Set("Content-Type", m.FormDataContentType()) }
}

func TestAttachments(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Designer)
	script := ann.made("/api/right_scripts", map[string]any{"right_script": map[string]any{"name": "x", "source": "#!/bin/sh\n"}})
	put := func(method, path, name, content string) answer {
		body, set := upload(name, content)
		return w.call(method, path, body, ann.auth, set)
	}
	big := strings.Repeat("0123456789abcdef", maxBody/16+1000)
	got := put("POST", script+"/attachments", "big.bin", big)
	require.Equal(t, 201, got.status, got.body)
	href := got.header.Get("Location")
	require.Equal(t, 422, put("POST", script+"/attachments", "big.bin", "x").status, "there is one of that name")
	var one map[string]any
	ann.do("GET", href, nil, 200).into(t, &one)
	require.Equal(t, fmt.Sprint(len(big)), one["size"])
	link := strings.TrimPrefix(one["download_url"].(string), w.base)
	require.Equal(t, big, w.call("GET", link, nil).body, "the link needs no session")
	w.skew.Store(int64(time.Hour))
	require.Equal(t, 403, w.call("GET", link, nil).status, "and is good for a while")
	w.skew.Store(0)
	require.Equal(t, 204, put("PUT", href, "small.txt", "x").status)
	var list []map[string]any
	ann.do("GET", script+"/attachments", nil, 200).into(t, &list)
	require.Len(t, list, 1)
	require.Equal(t, "9dd4e461268c8034f5c8564e155c67a6", list[0]["digest"])
	require.Equal(t, "small.txt", list[0]["filename"])

	for name, change := range map[string]func(*http.Request){
		"not multipart": func(*http.Request) {},
		"no boundary":   func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data") },
		"cut off":       func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") },
	} {
		got := w.call("POST", script+"/attachments", "--x\r\nContent-Disposition: form-data; name=\"right_script_attachment[content]\"\r\n\r\nhalf", ann.auth, change)
		require.Equal(t, 400, got.status, "%s: %s", name, got.body)
	}
	for _, name := range []string{"..", strings.Repeat("x", 256)} {
		require.Equal(t, 422, put("POST", script+"/attachments", name, "x").status, name)
	}
	// A revision keeps what it was committed with.
	revision := ann.made(script+"/commit", map[string]any{"right_script": map[string]any{"commit_message": "first"}})
	ann.do("DELETE", list[0]["links"].([]any)[0].(map[string]any)["href"].(string), nil, 204)
	require.Contains(t, ann.do("GET", revision+"/attachments", nil, 200).body, "small.txt")
	require.Equal(t, "[]", ann.do("GET", script+"/attachments", nil, 200).body)
	require.Equal(t, 422, put("POST", revision+"/attachments", "new.txt", "x").status, "a revision does not change")
}

func TestTemplates(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Designer)
	st := ann.made("/api/server_templates", map[string]any{"server_template": map[string]any{"name": "t", "description": "one"}})
	var scripts, ids []string
	for _, name := range []string{"a", "b"} {
		scripts = append(scripts, ann.made("/api/right_scripts", map[string]any{"right_script": map[string]any{"name": name, "source": "#!/bin/sh\necho " + name}}))
		href := ann.made(st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": scripts[len(scripts)-1], "sequence": "boot"}})
		ids = append(ids, href[strings.LastIndex(href, "/")+1:])
	}
	order := func() string {
		var list []struct {
			Position int                   `json:"position"`
			Script   struct{ Name string } `json:"right_script"`
		}
		ann.do("GET", st+"/runnable_bindings", nil, 200).into(t, &list)
		text := ""
		for _, b := range list {
			text += fmt.Sprintf("%d%s ", b.Position, b.Script.Name)
		}
		return text
	}
	require.Equal(t, "1a 2b ", order())
	swap := func(first, second string, want int) {
		ann.do("PUT", st+"/runnable_bindings/multi_update", map[string]any{"runnable_bindings": []map[string]string{
			{"id": ids[0], "position": first, "sequence": "boot"}, {"id": ids[1], "position": second}}}, want)
	}
	swap("2", "1", 204)
	require.Equal(t, "1b 2a ", order())
	swap("1", "1", 422)
	require.Equal(t, "1b 2a ", order())
	ann.do("POST", st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": scripts[0], "sequence": "sometimes"}}, 422)
	ann.do("POST", st+"/runnable_bindings", map[string]any{"runnable_binding": map[string]any{"right_script_href": scripts[0], "sequence": "boot", "position": 1}}, 422)
	require.Contains(t, ann.do("DELETE", scripts[0], nil, 422).body, "is in 1 places")

	require.Contains(t, ann.do("POST", st+"/detect_changes_in_head", nil, 200).body, `"name":"a"`)
	revision := ann.made(st+"/commit", map[string]any{"commit_message": "first", "commit_head_dependencies": "true", "freeze_repositories": "true"})
	require.Equal(t, "[]", ann.do("POST", st+"/detect_changes_in_head", nil, 200).body)
	ann.do("PUT", scripts[0]+"/source", "#!/bin/sh\necho changed\n", 204)
	require.Contains(t, ann.do("POST", st+"/detect_changes_in_head", nil, 200).body, `"name":"a"`)
	var committed, head map[string]any
	ann.do("GET", revision, nil, 200).into(t, &committed)
	ann.do("GET", st, nil, 200).into(t, &head)
	require.EqualValues(t, 1, committed["revision"])
	require.Equal(t, head["lineage"], committed["lineage"])
	require.Regexp(t, `^https://[^/]+/api/acct/1/ec2_server_templates/\d+$`, committed["lineage"])
	require.NotContains(t, ann.do("GET", revision+"/runnable_bindings", nil, 200).body, scripts[0]+`"`, "it is bound to revisions")
	ann.do("PUT", revision, map[string]any{"server_template": map[string]any{"name": "x"}}, 422)
	ann.do("DELETE", revision+"/runnable_bindings/1", nil, 422)
	copied := ann.made(st+"/clone", map[string]any{"server_template": map[string]any{"name": "copy"}})
	require.Contains(t, ann.do("GET", copied+"/runnable_bindings", nil, 200).body, scripts[1])
	require.Contains(t, ann.do("GET", "/api/server_templates?filter[]=revision==1", nil, 200).body, revision)
	require.Contains(t, ann.do("GET", "/api/right_scripts?latest_only=true&filter[]=name==a", nil, 200).body, `"revision":1`)
	require.Equal(t, 403, ann.call("POST", st+"/publish", nil, ann.auth).status)
	w.person(1, access.Publisher).do("POST", st+"/publish", nil, 422)
	ann.do("DELETE", st, nil, 204)
	ann.do("GET", st, nil, 422)
	ann.do("DELETE", w.template(), nil, 204)

	got := ann.do("POST", "/api/right_scripts", map[string]any{"right_script": map[string]any{"name": "bad", "source": "#!/bin/sh\n# ---\n# RightScript Name: x\n# Nope: 1\n# Inputs: {}\n# ...\n"}}, 422)
	require.Contains(t, got.body, "line 4", "errors carry the line")
}

func TestImagesAndSettings(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Designer)
	mci := ann.made("/api/multi_cloud_images", map[string]any{"multi_cloud_image": map[string]any{"name": "m"}})
	setting := map[string]any{"multi_cloud_image_setting": map[string]any{"cloud_href": "/api/clouds/1", "image_href": "/api/clouds/1/images/ami-1", "instance_type_href": "/api/clouds/1/instance_types/t3.small", "user_data": "x"}}
	href := ann.made(mci+"/settings", setting)
	require.Contains(t, ann.do("POST", mci+"/settings", setting, 422).body, "has a setting for cloud 1 already")
	ann.do("PUT", href, map[string]any{"multi_cloud_image_setting": map[string]any{"image_href": "/api/clouds/1/images/ami-2"}}, 204)
	got := ann.do("GET", href, nil, 200).body
	require.Contains(t, got, "/api/clouds/1/images/ami-2")
	require.Contains(t, got, `"user_data":"x"`, "what was not sent stays")
	ann.do("PUT", href, map[string]any{"multi_cloud_image_setting": map[string]any{"image_href": "/api/clouds/2/images/ami-2"}}, 400)
	require.Len(t, ann.do("GET", mci+"/settings?filter[]=cloud_href==/api/clouds/2", nil, 200).body, 2)

	st := ann.made("/api/server_templates", map[string]any{"server_template": map[string]any{"name": "t"}})
	connect := func(image string, want int) string {
		return ann.do("POST", "/api/server_template_multi_cloud_images", map[string]any{"server_template_multi_cloud_image": map[string]any{"server_template_href": st, "multi_cloud_image_href": image}}, want).header.Get("Location")
	}
	first := connect(mci, 201)
	connect(mci, 422)
	revision := ann.made(mci+"/commit", map[string]any{"commit_message": "x"})
	second := connect(revision, 201)
	require.Contains(t, ann.do("GET", st, nil, 200).body, `{"rel":"default_multi_cloud_image","href":"`+mci+`"}`)
	ann.do("DELETE", first, nil, 422)
	ann.do("POST", second+"/make_default", nil, 204)
	require.Contains(t, ann.do("GET", st, nil, 200).body, `{"rel":"default_multi_cloud_image","href":"`+revision+`"}`)
	require.Contains(t, ann.do("GET", "/api/server_template_multi_cloud_images?filter[]=is_default==true", nil, 200).body, second)
	ann.do("DELETE", mci, nil, 422)
	ann.do("DELETE", first, nil, 204)
	ann.do("DELETE", mci, nil, 204)
	require.Contains(t, ann.do("GET", revision+"/settings", nil, 200).body, "ami-2")
	ann.do("PUT", revision, map[string]any{"multi_cloud_image": map[string]any{"name": "x"}}, 422)
}

func TestInstances(t *testing.T) {
	w := start(t)
	ann := w.person(1, access.Operator)
	a := w.login(w.server("web-1", "PASSWORD=text:x")).operational("i-1")
	row, err := w.fleet.ServerByID(t.Context(), 1, w.view("web-1").ID)
	require.NoError(t, err)
	server, next := fleet.ServerHref(row.ID), fleet.NextHref(row)
	require.Contains(t, ann.do("GET", server, nil, 200).body, `{"rel":"current_instance","href":"`+a.self+`"}`)
	require.Contains(t, ann.do("GET", next, nil, 200).body, `"state":"inactive"`)
	require.Contains(t, ann.do("GET", a.self+"?view=full_inputs_2_0", nil, 200).body, `{"name":"PASSWORD","value":"text:x"}`)
	require.Contains(t, ann.do("GET", "/api/clouds/1/instances?filter[]=resource_uid==i-1&filter[]=parent_href=="+server+"&filter[]=private_ip_address==10.0.0.7", nil, 200).body, a.self)
	require.Equal(t, "[]", ann.do("GET", "/api/clouds/1/instances?filter[]=state==stranded", nil, 200).body)
	require.NotContains(t, ann.do("GET", "/api/clouds/1/instances?view=tiny", nil, 200).body, "resource_uid")

	// Scripts, on one or on those that a filter selects.
	script := "/api/right_scripts/" + itoa(scriptID(t, w, "Test start"))
	run := map[string]any{"right_script_href": script, "inputs": map[string]string{"PORT": "text:81", "EXTRA": "text:1"}}
	task := ann.do("POST", a.self+"/run_executable", run, 202).header.Get("Location")
	require.Regexp(t, `^`+a.self+`/live/tasks/ae-\d+$`, task)
	require.Contains(t, ann.do("GET", task+"?view=extended", nil, 200).body, `"summary":"queued: Test start"`)
	var list []wire.Event
	a.call("GET", "/router/listen?wait_time=5", nil, a.router).into(t, &list)
	require.Contains(t, string(list[0].Data), `"EXTRA":"1"`, "an input that nobody declared")
	ann.do("POST", "/api/clouds/1/instances/multi_run_executable", map[string]any{"right_script_href": script, "filter": []string{"state==operational"}}, 202)
	ann.do("POST", "/api/clouds/1/instances/multi_run_executable", map[string]any{"right_script_href": script, "filter": []string{"state==stranded"}}, 422)
	ann.do("POST", a.self+"/run_executable", map[string]any{"recipe_name": "x"}, 422)
	ann.do("POST", a.self+"/run_executable", nil, 400)
	ann.do("POST", next+"/run_executable", run, 422)

	ann.do("POST", a.self+"/lock", nil, 204)
	require.Contains(t, ann.do("GET", a.self, nil, 200).body, `"locked":true`)
	ann.do("POST", a.self+"/run_executable", run, 422)
	run["ignore_lock"] = "true"
	ann.do("POST", a.self+"/run_executable", run, 202)
	ann.do("POST", server+"/terminate", nil, 422)
	ann.do("POST", a.self+"/unlock", nil, 204)
	ann.do("POST", a.self+"/start", nil, 422)
	require.Contains(t, ann.do("POST", next+"/launch", nil, 422).body, "no cloud credentials")

	// Without credentials for the cloud the agent ends its machine itself.
	ann.do("POST", "/api/clouds/1/instances/multi_terminate", nil, 400)
	ann.do("POST", server+"/terminate", nil, 204)
	a.call("GET", "/router/listen?wait_time=5", nil, a.router).into(t, &list)
	require.JSONEq(t, `{"kind":"terminate"}`, string(list[len(list)-1].Data))
	a.record(wire.StateDecommissioned, wire.StateOperational, wire.KindTerminate, 204)
	body := ann.do("GET", server, nil, 200).body
	require.NotContains(t, body, "current_instance")
	require.Contains(t, body, `{"rel":"launch"}`)

	// The launch configuration.
	ann.do("PUT", next, map[string]any{"instance": map[string]any{"image_href": "/api/clouds/1/images/ami-9", "instance_type_href": "/api/clouds/1/instance_types/t3.large",
		"subnet_hrefs": []string{"/api/clouds/1/subnets/subnet-1"}, "security_group_hrefs": []string{"/api/clouds/1/security_groups/sg-1"}, "user_data": "own"}}, 204)
	row, err = w.fleet.ServerByID(t.Context(), 1, row.ID)
	require.NoError(t, err)
	require.Equal(t, store.Launch{CloudID: 1, ImageUID: "ami-9", InstanceType: "t3.large", SubnetUID: "subnet-1", SecurityGroupUIDs: []string{"sg-1"}}, row.Launch)
	require.Equal(t, "own", row.UserData)
	ann.do("PUT", a.self, map[string]any{"instance": map[string]any{"user_data": "x"}}, 422)
	copied := ann.made(server+"/clone", nil)
	require.Contains(t, ann.do("GET", copied+"?view=instance_detail", nil, 200).body, "ami-9")
	ann.do("DELETE", copied, nil, 204)
	ann.do("DELETE", server, nil, 204)
	ann.do("GET", next, nil, 422)
}

// template is the href of the ServerTemplate that start has uploaded.
func (w *world) template() string {
	w.t.Helper()
	tmpl, err := w.fleet.DB.ServerTemplateByName(w.t.Context(), fleet.DefaultAccount, "Test web")
	require.NoError(w.t, err)
	return fleet.ServerTemplateHref(tmpl.ID)
}

// An array of a fixed size: its servers are made and launched together.
func TestServerArrays(t *testing.T) {
	w := startTools(t)
	ann := w.person(1, access.Operator)
	spec := map[string]any{"name": "web", "state": "enabled", "elasticity_params": map[string]any{"bounds": map[string]string{"min_count": "2", "max_count": "2"}},
		"instance": map[string]any{"cloud_href": w.vars["cloud"], "server_template_href": w.template(), "image_href": w.vars["image"], "instance_type_href": w.vars["type"],
			"inputs": map[string]string{"PASSWORD": "text:x"}}}
	href := ann.made("/api/server_arrays", map[string]any{"server_array": spec})
	require.Contains(t, ann.do("GET", href, nil, 200).body, `"instances_count":0`)
	first := ann.made(href+"/launch", nil)
	require.True(t, strings.HasPrefix(first, w.vars["cloud"]+"/instances/"))
	require.Contains(t, ann.do("POST", href+"/launch", nil, 422).body, "run already")
	w.cloud.Work("two machines run", func() bool { return w.cloud.Alive() == 2 })
	require.Contains(t, ann.do("GET", href, nil, 200).body, `"instances_count":2`)
	require.Contains(t, ann.do("GET", href+"/current_instances", nil, 200).body, first)
	ann.do("PUT", href, map[string]any{"server_array": map[string]any{"elasticity_params": map[string]any{"bounds": map[string]string{"min_count": "1", "max_count": "3"}}}}, 400)
	ann.do("DELETE", href, nil, 422)
	ann.do("POST", href+"/multi_terminate", map[string]any{"terminate_all": true}, 202)
	w.cloud.Idle()
	require.Zero(t, w.cloud.Alive())
	ann.do("DELETE", href, nil, 204)
	require.Equal(t, "[]", ann.do("GET", "/api/servers", nil, 200).body)
	ann.do("POST", "/api/server_arrays", map[string]any{"server_array": map[string]any{"name": "x", "elasticity_params": map[string]any{"bounds": map[string]string{"min_count": "501"}},
		"instance": spec["instance"]}}, 422)
}

func scriptID(t *testing.T, w *world, name string) int64 {
	t.Helper()
	id, err := w.fleet.DB.RightScriptID(t.Context(), 1, name)
	require.NoError(t, err)
	return id
}
