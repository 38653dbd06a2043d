// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// catalogue fills the world with one of everything.
func (w *world) catalogue() {
	w.t.Helper()
	ctx := context.Background()
	running := w.enrol(w.server("web-1"), "i-0123456789abcdef0")
	w.server("<b>web</b> & \"2\"")
	_, err := w.fleet.TagServer(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", []string{"app:role=web"}, nil)
	require.NoError(w.t, err)
	id, err := w.fleet.RunScript(ctx, fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test start", By: "operator@example.net"})
	require.NoError(w.t, err)
	running.writes(id, "", "one\n<script>alert(1)</script>\n")
	w.image()
	cloud := w.cloud()
	w.raw(cloud, "i-0fedcba9876543210")
	require.NoError(w.t, w.fleet.DB.PutImage(ctx, store.Image{CloudID: cloud, UID: "IMG1", ResourceUID: "ami-0abc", Name: "debian-12", OSPlatform: "Linux", CPUArchitecture: "x86_64", Visibility: "private"}, w.fleet.Now()))
}

// image adds a MultiCloudImage of the ServerTemplate.
func (w *world) image() {
	w.t.Helper()
	ctx, by := context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}
	name := "Debian 12"
	id, err := w.fleet.CreateMultiCloudImage(ctx, by, fleet.ImagePatch{Name: &name})
	require.NoError(w.t, err)
	_, err = w.fleet.PutSetting(ctx, by, store.MCISetting{MCIID: id, CloudID: store.DefaultCloud, ImageUID: "ami-0123", InstanceType: "t3.small"})
	require.NoError(w.t, err)
	_, err = w.fleet.ConnectImage(ctx, by, w.template, id)
	require.NoError(w.t, err)
}

// cloud adds a cloud that can be called.
func (w *world) cloud() int64 {
	w.t.Helper()
	id, err := w.fleet.DB.CreateCloud(context.Background(), store.Cloud{AccountID: fleet.DefaultAccount, Name: "Frankfurt", Type: "amazon", Region: "eu-central-1", Credentials: store.CredentialsAmbient}, w.fleet.Now())
	require.NoError(w.t, err)
	return id
}

// raw adds an instance that a listing has shown.
func (w *world) raw(cloud int64, uid string) store.Instance {
	w.t.Helper()
	ctx := context.Background()
	inst := store.Instance{AccountID: fleet.DefaultAccount, CloudID: cloud, UID: "RAW" + strings.ToUpper(uid[2:8]), ResourceUID: uid, Cloud: "ec2", ImageUID: "ami-0def", State: "running",
		Name: "bastion", InstanceType: "t3.small", CloudState: "running", SeenCloudID: cloud, PublicIPs: []string{"192.0.2.1"}}
	id, err := w.fleet.DB.CreateRawInstance(ctx, inst, w.fleet.Now())
	require.NoError(w.t, err)
	inst, err = w.fleet.DB.Instance(ctx, id)
	require.NoError(w.t, err)
	return inst
}

// Every page that a link leads to answers, says what it may, and can be used by
// everybody; credentials are on none of them.
func TestCrawl(t *testing.T) {
	w := start(t)
	w.catalogue()
	for _, who := range []string{"observer", "operator", "admin"} {
		v := w.as(who)
		todo, seen := []string{"/ui/", "/ui/login"}, map[string]bool{}
		for len(todo) > 0 {
			path := todo[0]
			todo = todo[1:]
			if seen[path] {
				continue
			}
			seen[path] = true
			p := v.do(http.MethodGet, path, nil)
			if p.status == http.StatusSeeOther {
				continue
			}
			require.Equal(t, http.StatusOK, p.status, "%s as %s", path, who)
			checkHeaders(t, p, path)
			require.NotContains(t, p.body, "very-secret-value", path)
			if !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
				continue
			}
			require.Empty(t, faults(p.root), "%s as %s", path, who)
			require.NotContains(t, p.body, "<script>alert", path)
			for _, link := range all(p.root, "a") {
				if href := attr(link, "href"); strings.HasPrefix(href, Base) {
					todo = append(todo, href)
				}
			}
			for _, live := range all(p.root, "*") {
				if href := attr(live, "hx-get"); href != "" && !seen["live "+href] {
					seen["live "+href] = true
					part := v.do(http.MethodGet, href, nil, func(r *http.Request) { r.Header.Set("HX-Request", "true") })
					require.Contains(t, []int{200, 204}, part.status, href)
					require.NotContains(t, part.body, "<html", href)
				}
			}
		}
		require.Greater(t, len(seen), 25, "as %s", who)
	}
}

func checkHeaders(t *testing.T, p page, path string) {
	t.Helper()
	for name, want := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
		require.Equal(t, want, p.header.Get(name), path)
	}
	require.NotContains(t, policy, "unsafe")
}

func TestStaticFiles(t *testing.T) {
	w := start(t)
	v := w.visitor()
	p := v.get("/login")
	var urls []string
	for _, n := range all(p.root, "*") {
		for _, key := range []string{"src", "href"} {
			if strings.Contains(attr(n, key), "/static/") {
				urls = append(urls, attr(n, key))
			}
		}
	}
	require.Len(t, urls, 4)
	for _, u := range urls {
		p := v.get(u)
		require.Equal(t, 200, p.status, u)
		require.Contains(t, p.header.Get("Cache-Control"), "immutable")
	}
	for _, path := range []string{"/static/app.css", "/static/NOTICE.md", "/static/..%2ftemplates%2flogin.html", "/static/"} {
		require.Equal(t, http.StatusNotFound, v.get(path).status, path)
	}
}

func TestErrorPages(t *testing.T) {
	w := start(t)
	v := w.as("operator")
	for path, want := range map[string]string{"/nothing": "no page", "/servers/x": "no page", "/servers/0": "no page", "/servers/77": "server 77", "/audit/99": "audit entry 99", "/instances/NONE": "instance NONE", "/servers/1/explode": "not exist"} {
		p := v.get(path)
		require.Equal(t, http.StatusNotFound, p.status, path)
		require.Contains(t, textOf(p.root), want, path)
		require.Empty(t, faults(p.root), path)
	}
	require.Equal(t, http.StatusMethodNotAllowed, v.post("/templates").status)
	p := v.do(http.MethodPost, "/servers", strings.NewReader("name="+strings.Repeat("x", maxForm+1)))
	require.Equal(t, http.StatusRequestEntityTooLarge, p.status)
	p = v.do(http.MethodPost, "/servers", strings.NewReader("a=%zz"))
	require.Equal(t, http.StatusBadRequest, p.status)
	p = v.do(http.MethodPost, "/login", strings.NewReader("a=%zz"))
	require.Equal(t, http.StatusBadRequest, p.status)
	require.Equal(t, "/ui/", v.root().location())
	require.Equal(t, http.StatusOK, v.do(http.MethodHead, "/servers", nil).status)
	p = w.visitor().do(http.MethodGet, "/servers", nil, func(r *http.Request) { r.Header.Set("HX-Request", "true") })
	require.Equal(t, http.StatusUnauthorized, p.status)
	require.Equal(t, "/ui/login", p.header.Get("HX-Redirect"))
	require.False(t, named("localhost:8443") || named("127.0.0.1") || named("[::1]:443") || named("a.localhost"))
	require.True(t, named("rs.example.net:443"))
}

func TestPanic(t *testing.T) {
	w := start(t)
	var logs bytes.Buffer
	w.web.opt.Log = slog.New(slog.NewTextHandler(&logs, nil))
	rec := httptest.NewRecorder()
	w.web.recovered(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/ui/x", nil))
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Contains(t, rec.Body.String(), "Something went wrong")
	require.NotContains(t, rec.Body.String(), "boom")
	require.Contains(t, logs.String(), "boom")
}

func TestLists(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	for i := range 120 {
		_, err := w.fleet.CreateServer(ctx, fleet.DefaultAccount, fleet.ServerSpec{Name: fmt.Sprintf("node-%03d", i), Template: "Test web", Enrolment: wire.EnrolLegacy})
		require.NoError(t, err)
	}
	w.server("Data_1%")
	v := w.as("operator")
	p := v.sees("/servers", "1–50 of 121", "Data_1%", "node-000", "node-048")
	require.NotContains(t, p.body, "node-049")
	next := link(t, p, "Next")
	p = v.sees(next, "51–100 of 121", "node-049")
	require.Equal(t, "/ui/servers", link(t, p, "Previous"))
	p = v.sees(link(t, p, "Next"), "101–121 of 121", "node-119")
	require.Empty(t, links(p, "Next"))
	p = v.sees("/servers?q=NODE-11", "1–10 of 10", "node-110")
	require.NotContains(t, p.body, "node-100")
	for _, text := range []string{"_1%", "%", "_"} {
		v.sees("/servers?q="+url.QueryEscape(text), "1–1 of 1", "Data_1%")
	}
	v.sees("/servers?state=operational", "No server fits the filter")
	v.sees("/servers?page=99", "121–121 of 121")
	v.sees("/servers?page=x&q="+strings.Repeat("a", 500), "No server fits the filter")
	p = v.sees("/servers?q=node&state=inactive", "1–50 of 120")
	require.Contains(t, link(t, p, "Next"), "page=2&q=node&state=inactive")

	// The trail goes backwards by id.
	p = v.sees("/audit", "server created")
	older := link(t, p, "Older")
	p = v.sees(older, "server created")
	require.NotEmpty(t, links(p, "Newest"))
	v.sees("/audit?q=DELETED", "No entries")
}

func links(p page, text string) (list []string) {
	for _, n := range all(p.root, "a") {
		if textOf(n) == text {
			list = append(list, attr(n, "href"))
		}
	}
	return list
}

func link(t *testing.T, p page, text string) string {
	t.Helper()
	list := links(p, text)
	require.Len(t, list, 1, "link %q in %s", text, p.body)
	return list[0]
}

func TestInstances(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	managed, _, err := w.fleet.Self(ctx, w.enrol(w.server("web-1"), "i-0123456789abcdef0").sess)
	require.NoError(t, err)
	raw := w.raw(w.cloud(), "i-0fedcba9876543210")
	v := w.as("operator")
	v.sees("/instances", "i-0123456789abcdef0", "web-1", "i-0fedcba9876543210", "Frankfurt", "running", "operational")
	p := v.sees("/instances?owner=raw", "i-0fedcba9876543210")
	require.NotContains(t, p.body, "i-0123456789abcdef0")
	p = v.sees("/instances?owner=managed", "i-0123456789abcdef0")
	require.NotContains(t, p.body, "i-0fedcba9876543210")
	v.sees("/instances?q=BASTION", "1–1 of 1", "i-0fedcba9876543210")
	v.sees("/instances?q=web-1", "1–1 of 1", "i-0123456789abcdef0")
	v.sees("/instances/"+managed.UID, "web-1", "ami-0abc", "10.0.0.7", "booting → operational", "10.6.4")
	v.sees("/instances/"+raw.UID, "raw", "Reboot", "Terminate", "t3.small", "192.0.2.1")

	v.sees("/instances/"+raw.UID+"/terminate", "Terminate i-0fedcba9876543210?")
	require.Contains(t, v.post("/instances/"+raw.UID+"/terminate").location(), "done=terminate")
	require.Equal(t, []string{"terminate " + itoa(raw.ID) + " operator@example.net"}, w.machines.calls)
	w.machines.err = &fleet.RefusedError{Text: "the cloud says no"}
	p = v.post("/instances/" + raw.UID + "/stop")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "the cloud says no")
	p = v.post("/instances/" + managed.UID + "/terminate")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "use the page of the server")
	w.web.opt.Machines = nil
	p = v.post("/instances/" + raw.UID + "/stop")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "no cloud credentials")
}

func TestTemplatesAndImages(t *testing.T) {
	w := start(t)
	w.catalogue()
	v := w.as("observer")
	p := v.sees("/templates/"+itoa(w.template), "Boot", "Test install", "Operational", "Decommission", "Test stop", "PORT", "text:8080", "ServerTemplate", "Debian 12", "default")
	require.NotContains(t, textOf(p.root), "New server", "an observer creates nothing")
	v.sees(link(t, p, "Test install"), "payload.bin", "curl", `ls "$RS_ATTACH_DIR"`)
	v.sees(link(t, p, "Debian 12"), "Test web", "ami-0123", "t3.small", "not in the catalogue")
	v.sees("/templates?q=none", "No ServerTemplate fits")
	v.sees("/multi-cloud-images?q=debian", "Debian 12")
	v.sees("/images", "debian-12", "ami-0abc", "x86_64")
	v.sees("/images?q=AMI-0abc", "debian-12")
	v.sees("/images?cloud=1", "not listed yet")
}

func TestCredentials(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	v := w.as("operator")
	v.sees("/credentials", "DB_PASSWORD", "of the database")
	p := v.post("/credentials", "name", "TOKEN", "description", "for the API", "value", "another-secret")
	require.Equal(t, "/ui/credentials?done=credential", p.location())
	p = v.sees("/credentials?done=credential", "TOKEN", "The credential was saved.")
	require.NotContains(t, p.body, "another-secret")
	p = v.post("/credentials", "name", "a:b", "value", "third-secret")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "without a colon")
	require.NotContains(t, p.body, "third-secret", "not even the form that failed shows a value")
	require.Equal(t, http.StatusUnprocessableEntity, v.post("/credentials", "name", "EMPTY").status)
	list, err := w.fleet.DB.Credentials(ctx, fleet.DefaultAccount)
	require.NoError(t, err)
	require.Len(t, list, 2)
	at := "/credentials/" + itoa(list[1].ID) + "/remove"
	v.sees(at, "Remove the credential TOKEN?")
	require.Equal(t, "/ui/credentials?done=uncredited", v.post(at).location())
	require.Equal(t, http.StatusNotFound, v.post(at).status)
	require.NotContains(t, textOf(w.as("observer").sees("/credentials", "DB_PASSWORD").root), "Set a credential")
}

func TestUsers(t *testing.T) {
	w := start(t)
	v := w.as("admin")
	v.sees("/users", "operator@example.net", "designer")
	p := v.post("/users", "email", "new@example.net", "password", "short", "role", "operator")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "want at least 12")
	require.NotContains(t, p.body, `value="short"`)
	require.Equal(t, http.StatusUnprocessableEntity, v.post("/users", "email", "new@example.net", "password", password).status, "without a role")
	require.Equal(t, http.StatusUnprocessableEntity, v.post("/users", "email", "new@example.net", "password", password, "role", "king").status)
	require.Equal(t, "/ui/users?done=user", v.post("/users", "email", "new@example.net", "password", password, "role", "operator").location())
	at := link(t, v.sees("/users?q=NEW"), "new@example.net")
	n := w.as("new")
	require.Equal(t, 200, n.get("/servers/new").status)
	require.Equal(t, "/ui/users?done=user", v.post(at+"/roles", "role", "observer").location())
	require.Equal(t, http.StatusForbidden, n.get("/servers/new").status, "at once, not at the next login")
	require.Equal(t, "/ui/users?done=password", v.post(at+"/password", "password", "a brand new password").location())
	require.Contains(t, n.get("/").location(), "/login", "the old password's sessions have ended")
	v.sees(at+"/remove", "Remove new@example.net?")
	require.Equal(t, "/ui/users?done=removed", v.post(at+"/remove").location())
	require.Equal(t, http.StatusNotFound, v.get(at).status)

	self := links(v.sees("/users"), "admin@example.net") // in the head, and in the list
	p = v.post(self[len(self)-1]+"/roles", "role", "observer")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "last admin")
}

func TestMe(t *testing.T) {
	w := start(t)
	v, other := w.as("observer"), w.as("observer")
	v.sees("/me", "observer", "sees everything but secrets", "default")
	for _, form := range [][]string{{"old", "wrong", "password", "a new password", "again", "a new password"}, {"old", password, "password", "a new password", "again", "another password"}, {"old", password, "password", "short", "again", "short"}} {
		require.Equal(t, http.StatusUnprocessableEntity, v.post("/me/password", form...).status, form)
	}
	require.Equal(t, "/ui/me?done=password", v.post("/me/password", "old", password, "password", "a new password", "again", "a new password").location())
	v.sees("/me?done=password", "The password was changed.")
	require.Contains(t, other.get("/").location(), "/login")
	_, err := w.access.Login(context.Background(), "observer@example.net", "a new password", 0)
	require.NoError(t, err)
	_, err = w.access.Login(context.Background(), "observer@example.net", password, 0)
	require.ErrorIs(t, err, access.ErrUnauthorized)
}

// FuzzForms throws bytes at the forms: a bad one is told so, and nothing breaks.
func FuzzForms(f *testing.F) {
	for _, seed := range []string{"name=a&template=1", "server=1&script=1&kind.PORT=array&value.PORT=[", "name=%00&value=x", "kind.=text&value.=\xff", "script=99999999999999999999&server=1",
		"add=a:b=c&remove=", "email=a&password=b&role=admin", "name=a&template=1&show=1&cloud=-1&mci=x&enrolment=\x00", "form=mime"} {
		f.Add(seed)
	}
	shared := start(f)
	shared.server("web-1")
	client := shared.as("admin").client
	f.Fuzz(func(t *testing.T, form string) {
		v := &visitor{world: &world{t: t, http: shared.http}, client: client}
		token := v.csrf()
		require.NotEmpty(t, token)
		for _, path := range []string{"/servers", "/run", "/credentials", "/users", "/servers/1/tags", "/servers/1/launch", "/servers/1/user-data", "/servers/1/reboot", "/servers/1/settings", "/deployments", "/arrays", "/clouds", "/templates/1/scripts", "/me/password", "/me/account", "/login"} {
			require.Less(t, v.do(http.MethodPost, path, strings.NewReader("csrf="+token+"&"+form)).status, 500, path)
		}
		for _, path := range []string{"/servers", "/instances", "/run", "/servers/new", "/audit", "/images"} {
			require.Less(t, v.get(path+"?"+url.PathEscape(form)).status, 500, path)
		}
	})
}
