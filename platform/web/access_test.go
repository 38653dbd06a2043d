// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// who may open which route: anyone, a person, an observer, an actor (which an
// operator is), a designer, an admin. It is written down a second time, so that a change of
// the table in routes.go is one of two.
var allowed = map[string]string{
	"GET /":                             "anyone",
	"GET /ui":                           "anyone",
	"GET /ui/static/{file}":             "anyone",
	"GET /ui/login":                     "anyone",
	"POST /ui/login":                    "anyone",
	"POST /ui/logout":                   "person",
	"GET /ui/me":                        "person",
	"POST /ui/me/password":              "person",
	"POST /ui/me/account":               "person",
	"GET /ui/servers/{id}/settings":     "actor",
	"POST /ui/servers/{id}/settings":    "actor",
	"GET /ui/deployments":               "observer",
	"POST /ui/deployments":              "actor",
	"GET /ui/deployments/{id}":          "observer",
	"POST /ui/deployments/{id}":         "actor",
	"GET /ui/deployments/{id}/delete":   "actor",
	"POST /ui/deployments/{id}/delete":  "actor",
	"GET /ui/arrays":                    "observer",
	"POST /ui/arrays":                   "actor",
	"GET /ui/arrays/{id}":               "observer",
	"POST /ui/arrays/{id}":              "actor",
	"GET /ui/arrays/{id}/{action}":      "actor",
	"POST /ui/arrays/{id}/{action}":     "actor",
	"POST /ui/templates/{id}/scripts":   "designer",
	"GET /ui/clouds":                    "observer",
	"POST /ui/clouds":                   "admin",
	"GET /ui/clouds/{id}":               "observer",
	"POST /ui/clouds/{id}":              "admin",
	"GET /ui/clouds/{id}/remove":        "admin",
	"POST /ui/clouds/{id}/remove":       "admin",
	"GET /ui/":                          "observer",
	"GET /ui/servers":                   "observer",
	"GET /ui/servers/{id}":              "observer",
	"GET /ui/servers/new":               "actor",
	"POST /ui/servers":                  "actor",
	"GET /ui/servers/{id}/launch":       "actor",
	"POST /ui/servers/{id}/launch":      "actor",
	"GET /ui/servers/{id}/inputs":       "actor",
	"POST /ui/servers/{id}/inputs":      "actor",
	"GET /ui/servers/{id}/user-data":    "actor",
	"POST /ui/servers/{id}/user-data":   "actor",
	"GET /ui/servers/{id}/{action}":     "actor",
	"POST /ui/servers/{id}/{action}":    "actor",
	"POST /ui/servers/{id}/tags":        "actor",
	"GET /ui/run":                       "actor",
	"POST /ui/run":                      "actor",
	"GET /ui/instances":                 "observer",
	"GET /ui/instances/{uid}":           "observer",
	"GET /ui/instances/{uid}/{action}":  "actor",
	"POST /ui/instances/{uid}/{action}": "actor",
	"GET /ui/templates":                 "observer",
	"GET /ui/templates/{id}":            "observer",
	"GET /ui/scripts/{id}":              "observer",
	"GET /ui/images":                    "observer",
	"GET /ui/multi-cloud-images":        "observer",
	"GET /ui/multi-cloud-images/{id}":   "observer",
	"GET /ui/audit":                     "observer",
	"GET /ui/audit/{id}":                "observer",
	"GET /ui/audit/{id}/tail":           "observer",
	"GET /ui/audit/{id}/text":           "observer",
	"GET /ui/credentials":               "observer",
	"POST /ui/credentials":              "actor",
	"GET /ui/credentials/{id}/remove":   "actor",
	"POST /ui/credentials/{id}/remove":  "actor",
	"GET /ui/users":                     "admin",
	"POST /ui/users":                    "admin",
	"GET /ui/users/{id}":                "admin",
	"POST /ui/users/{id}/roles":         "admin",
	"POST /ui/users/{id}/password":      "admin",
	"GET /ui/users/{id}/remove":         "admin",
	"POST /ui/users/{id}/remove":        "admin",
}

// The table is complete, and each role gets what it says and no more.
func TestEveryRouteForEveryRole(t *testing.T) {
	w := start(t)
	// What each kind of visitor is, besides "anyone".
	is := map[string][]string{"nobody": nil, "observer": {"person", "observer"}, "designer": {"person", "observer", "designer"}, "operator": {"person", "observer", "actor"},
		"admin": {"person", "observer", "designer", "actor", "admin"}}
	visitors := map[string]*visitor{"nobody": w.visitor()}
	for _, who := range []string{"observer", "designer", "operator", "admin"} {
		visitors[who] = w.as(who)
	}
	seen := map[string]bool{}
	require.NoError(t, chi.Walk(w.web.router(), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		key := method + " " + route
		seen[key] = true
		need, known := allowed[key]
		require.True(t, known, "%s is not in the table of this test", key)
		path := strings.NewReplacer("{id}", "999", "{uid}", "NOBODY", "{action}", "terminate", "{file}", "none.css").Replace(route)
		if key == "POST /ui/logout" {
			return nil // ends the sessions that this test uses; see TestLogin
		}
		for who, v := range visitors {
			p := v.doAny(method, path)
			label := fmt.Sprintf("%s as %s: %d", key, who, p.status)
			switch {
			case need == "anyone" || slices.Contains(is[who], need):
				require.NotEqual(t, http.StatusForbidden, p.status, label)
				require.NotContains(t, p.location(), "/ui/login", label)
				require.Less(t, p.status, 500, label)
			case who == "nobody":
				require.Equal(t, http.StatusSeeOther, p.status, label)
				require.Contains(t, p.location(), "/ui/login", label)
			default:
				require.Equal(t, http.StatusForbidden, p.status, label)
				require.Contains(t, textOf(p.root), "Not allowed", label)
			}
		}
		return nil
	}))
	for key := range allowed {
		require.True(t, seen[key], "%s is in the table of this test and nowhere else", key)
	}
}

func (v *visitor) doAny(method, path string) page {
	switch {
	case method == http.MethodPost:
		return v.post(path)
	case path == "/":
		return v.root()
	default:
		return v.get(path)
	}
}

// What belongs to another account does not exist.
func TestAnotherAccount(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	server := w.server("web-1")
	a := w.enrol(server, "i-0123456789abcdef0")
	inst, _, err := w.fleet.Self(ctx, a.sess)
	require.NoError(t, err)
	entries, err := w.fleet.DB.AuditBackwards(ctx, store.AuditPage{AccountID: fleet.DefaultAccount, Limit: 1})
	require.NoError(t, err)
	creds, err := w.fleet.DB.Credentials(ctx, fleet.DefaultAccount)
	require.NoError(t, err)
	scripts, err := w.fleet.DB.BoundScripts(ctx, w.template, "")
	require.NoError(t, err)
	users, err := w.access.Users(ctx, fleet.DefaultAccount)
	require.NoError(t, err)
	w.image()
	mcis, err := w.fleet.DB.MultiCloudImages(ctx, fleet.DefaultAccount)
	require.NoError(t, err)
	require.NotEmpty(t, mcis)

	cloud := w.region("ireland")
	name := "front"
	array, err := w.fleet.CreateArray(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, fleet.ArrayPatch{Name: &name}, fleet.ServerSpec{TemplateID: w.template, AnyInput: true, Launch: store.Launch{CloudID: cloud}})
	require.NoError(t, err)

	other := w.secondAccount()
	_, err = w.access.AddUser(ctx, other, access.NewUser{Email: "stranger@example.net", Password: password, Roles: []access.Role{access.Admin}}, "test")
	require.NoError(t, err)
	v, own := w.as("stranger"), w.as("admin")
	paths := []string{
		"/servers/" + itoa(server.ID), "/servers/" + itoa(server.ID) + "/launch", "/servers/" + itoa(server.ID) + "/inputs", "/servers/" + itoa(server.ID) + "/user-data", "/servers/" + itoa(server.ID) + "/terminate",
		"/run?server=" + itoa(server.ID), "/servers/new?template=" + itoa(w.template), "/instances/" + inst.UID, "/templates/" + itoa(w.template), "/scripts/" + itoa(scripts[0].ID),
		"/audit/" + itoa(entries[0].ID), "/audit/" + itoa(entries[0].ID) + "/text", "/audit/" + itoa(entries[0].ID) + "/tail?from=0", "/audit?server=" + itoa(server.ID),
		"/credentials/" + itoa(creds[0].ID) + "/remove", "/users/" + itoa(users[0].ID), "/users/" + itoa(users[0].ID) + "/remove", "/multi-cloud-images/" + itoa(mcis[0].ID),
		"/servers/" + itoa(server.ID) + "/settings", "/deployments/" + itoa(server.DeploymentID), "/deployments/" + itoa(server.DeploymentID) + "/delete", "/arrays/" + itoa(array), "/arrays/" + itoa(array) + "/launch",
		"/clouds/" + itoa(cloud), "/clouds/" + itoa(cloud) + "/remove",
	}
	for _, path := range paths {
		require.Equal(t, http.StatusNotFound, v.get(path).status, path)
		require.Equal(t, http.StatusOK, own.get(path).status, path) // or the test tests nothing
	}
	for _, path := range []string{"/servers/" + itoa(server.ID) + "/settings", "/deployments/" + itoa(server.DeploymentID), "/deployments/" + itoa(server.DeploymentID) + "/delete", "/arrays/" + itoa(array), "/arrays/" + itoa(array) + "/delete",
		"/clouds/" + itoa(cloud), "/clouds/" + itoa(cloud) + "/remove", "/templates/" + itoa(w.template) + "/scripts", "/servers/" + itoa(server.ID) + "/inputs", "/servers/" + itoa(server.ID) + "/launch", "/servers/" + itoa(server.ID) + "/user-data", "/servers/" + itoa(server.ID) + "/terminate", "/servers/" + itoa(server.ID) + "/delete",
		"/servers/" + itoa(server.ID) + "/tags", "/instances/" + inst.UID + "/terminate", "/credentials/" + itoa(creds[0].ID) + "/remove", "/users/" + itoa(users[0].ID) + "/roles", "/users/" + itoa(users[0].ID) + "/password", "/users/" + itoa(users[0].ID) + "/remove"} {
		require.Equal(t, http.StatusNotFound, v.post(path, "role", "admin", "password", password+"x").status, path)
	}
	require.Equal(t, http.StatusNotFound, v.post("/run", "server", itoa(server.ID), "script", itoa(scripts[0].ID)).status)
	for _, list := range []string{"/", "/servers", "/instances", "/templates", "/audit", "/credentials", "/users", "/multi-cloud-images", "/images", "/arrays", "/deployments", "/clouds"} {
		text := textOf(v.sees(list).root)
		for _, word := range []string{"web-1", "i-0123456789abcdef0", "Test web", "DB_PASSWORD", "observer@example.net", "Debian 12", "ireland", "front"} {
			require.NotContains(t, text, word, list)
		}
	}
}

func TestLogin(t *testing.T) {
	w := start(t)
	v := w.visitor()
	p := v.get("/servers?q=a%26b")
	require.Equal(t, "/ui/login?next=%2Fui%2Fservers%3Fq%3Da%2526b", p.location())
	p = v.do(http.MethodGet, p.location(), nil)
	require.Equal(t, 200, p.status)
	var next string
	for _, n := range all(p.root, "input") {
		if attr(n, "name") == "next" {
			next = attr(n, "value")
		}
	}
	require.Equal(t, "/ui/servers?q=a%26b", next)

	p = v.post("/login", "email", "operator@example.net", "password", "wrong", "next", next)
	require.Equal(t, http.StatusUnauthorized, p.status)
	require.Contains(t, textOf(p.root), "do not belong together")
	require.Empty(t, p.header.Values("Set-Cookie"))

	p = v.post("/login", "email", " Operator@Example.net ", "password", password, "next", next)
	require.Equal(t, http.StatusSeeOther, p.status)
	require.Equal(t, next, p.location())
	cookie, err := http.ParseSetCookie(p.header.Get("Set-Cookie"))
	require.NoError(t, err)
	require.Equal(t, []any{"__Host-rightscaled", true, true, http.SameSiteLaxMode, "/", ""}, []any{cookie.Name, cookie.HttpOnly, cookie.Secure, cookie.SameSite, cookie.Path, cookie.Domain})
	v.sees("/", "operator@example.net", "Log out")
	require.Equal(t, "/ui/", v.get("/login").location(), "who has logged in need not again")

	// A second login has a new secret, and the old one is worth nothing.
	old := w.withCookie(cookie.Value)
	p = v.post("/login", "email", "operator@example.net", "password", password)
	again, err := http.ParseSetCookie(p.header.Get("Set-Cookie"))
	require.NoError(t, err)
	require.NotEqual(t, cookie.Value, again.Value)
	require.Contains(t, old.get("/").location(), "/login")

	// Logging out ends the session and not only the cookie.
	p = v.post("/logout")
	require.Equal(t, "/ui/login", p.location())
	require.Contains(t, w.withCookie(again.Value).get("/").location(), "/login")
	require.Contains(t, v.get("/").location(), "/login")

	// A session ends by itself.
	v = w.as("observer")
	w.skew.Add(int64(sessionTime + time.Minute))
	require.Contains(t, v.get("/").location(), "/login")
}

// withCookie is a visitor that shows a secret.
func (w *world) withCookie(secret string) *visitor {
	v := w.visitor()
	u, err := url.Parse(w.http.URL)
	require.NoError(w.t, err)
	v.client.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Value: secret, Path: "/", Secure: true}})
	return v
}

// A login leads to our own pages only.
func TestLoginLeadsNowhereElse(t *testing.T) {
	for next, want := range map[string]string{
		"/ui/servers?page=2": "/ui/servers?page=2", "": "/ui/", "https://evil.example/ui/": "/ui/", "//evil.example/ui/": "/ui/", "/ui/\\evil.example": "/ui/",
		"/api/servers": "/ui/", "javascript:alert(1)": "/ui/", "/uix/": "/ui/", "/ui/\r\nSet-Cookie: a=b": "/ui/", "%zz": "/ui/", "/ui/../../x": "/ui/../../x",
	} {
		require.Equal(t, want, localPath(next), next)
	}
}

func TestLoginIsLimited(t *testing.T) {
	w := start(t)
	v := w.visitor()
	for range wrongPasswords.PerName {
		require.Equal(t, http.StatusUnauthorized, v.post("/login", "email", "admin@example.net", "password", "guess").status)
	}
	p := v.post("/login", "email", "admin@example.net", "password", password)
	require.Equal(t, http.StatusTooManyRequests, p.status, "even with the right password")
	require.NotEmpty(t, p.header.Get("Retry-After"))
	require.Equal(t, http.StatusSeeOther, v.post("/login", "email", "observer@example.net", "password", password).status, "another user is not locked out")
	w.skew.Add(int64(2 * attempts.Window))
	require.Equal(t, http.StatusSeeOther, w.visitor().post("/login", "email", "admin@example.net", "password", password).status)
	for i := range wrongPasswords.PerAddress {
		require.Equal(t, http.StatusUnauthorized, v.post("/login", "email", fmt.Sprintf("u%d@example.net", i), "password", "guess").status)
	}
	require.Equal(t, http.StatusTooManyRequests, v.post("/login", "email", "observer@example.net", "password", password).status)
}

// A form of another site, of another session, or of none changes nothing.
func TestForeignForms(t *testing.T) {
	w := start(t)
	server := w.server("web-1")
	v, other := w.as("operator"), w.as("operator")
	path := "/servers/" + itoa(server.ID) + "/delete"
	form := func(token string) *strings.Reader { return strings.NewReader(url.Values{"csrf": {token}}.Encode()) }
	for name, p := range map[string]page{
		"no token":           v.do(http.MethodPost, path, form("")),
		"another session's":  v.do(http.MethodPost, path, form(other.csrf())),
		"in the address":     v.do(http.MethodPost, path+"?csrf="+v.csrf(), strings.NewReader("")),
		"another site":       v.do(http.MethodPost, path, form(v.csrf()), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
		"another sub-domain": v.do(http.MethodPost, path, form(v.csrf()), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }),
		"another origin": v.do(http.MethodPost, path, form(v.csrf()), func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example")
		}),
	} {
		require.Equal(t, http.StatusForbidden, p.status, name)
	}
	_, err := w.fleet.DB.Server(context.Background(), server.ID)
	require.NoError(t, err)
	p := w.visitor().do(http.MethodPost, "/login", strings.NewReader(""), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	require.Equal(t, http.StatusForbidden, p.status, "nobody is logged in by another site")
	require.Equal(t, http.StatusSeeOther, v.post(path).status) // or the test tests nothing
}

// An instance's session and an API program's token open no page.
func TestSecretsOfOthers(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	server := w.server("web-1")
	token, err := w.fleet.DB.LatestToken(ctx, server.ID)
	require.NoError(t, err)
	doc, err := w.fleet.UserData(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", "query", "h")
	require.NoError(t, err)
	values, err := url.ParseQuery(doc)
	require.NoError(t, err)
	plain := values.Get("RS_rn_auth")
	bearer, err := w.fleet.Login(ctx, token.ID, fleet.DefaultAccount, secretOf(plain))
	require.NoError(t, err)
	refresh, err := w.access.NewRefreshToken(ctx, fleet.DefaultAccount, "admin@example.net", "ci", "test")
	require.NoError(t, err)
	for _, secret := range []string{plain, bearer.Reveal(), refresh.Reveal(), "", "x", strings.Repeat("a", 3000)} {
		require.Contains(t, w.withCookie(secret).get("/").location(), "/login")
	}
	require.Equal(t, wire.EnrolLegacy, server.Enrolment)
}
