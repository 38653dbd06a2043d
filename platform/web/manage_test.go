// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// clouds notes what would be asked of the clouds of an account.
type clouds struct {
	db   *store.DB
	spec launch.CloudSpec
	id   int64
	err  error
}

func (c *clouds) AddCloud(_ context.Context, _ int64, spec launch.CloudSpec, _ string) ([]store.Cloud, error) {
	c.spec, c.id = spec, 0
	return nil, c.err
}

func (c *clouds) ChangeCloud(_ context.Context, _, id int64, spec launch.CloudSpec, _ string) error {
	c.spec, c.id = spec, id
	return c.err
}

func (c *clouds) RemoveCloud(ctx context.Context, account int64, name, _ string) error {
	if c.err != nil {
		return c.err
	}
	one, err := c.db.CloudByName(ctx, account, name)
	if err != nil {
		return err
	}
	return c.db.InTx(ctx, func(q *store.Queries) error { return q.DeleteCloud(ctx, one.ID) })
}

func (w *world) region(name string) int64 {
	w.t.Helper()
	id, err := w.fleet.DB.CreateCloud(context.Background(), store.Cloud{AccountID: fleet.DefaultAccount, Name: name, Type: "amazon", Region: "eu-west-1", Credentials: store.CredentialsKeys,
		AccessKey: "AKIAOLD", Sealed: []byte("sealed-secret-key")}, w.fleet.Now())
	require.NoError(w.t, err)
	return id
}

// Credentials of clouds can be given and replaced, and are on no page.
func TestClouds(t *testing.T) {
	w := start(t)
	fake := &clouds{db: w.fleet.DB}
	w.web.opt.Clouds = fake
	at := "/clouds/" + itoa(w.region("ireland"))
	admin, operator := w.as("admin"), w.as("operator")
	require.NotContains(t, textOf(operator.sees("/clouds", "ireland", "eu-west-1").root), "Add a cloud")
	require.NotContains(t, operator.sees(at, "AKIAOLD").body, "<form method=\"post\" action=\"/ui/clouds")

	form := []string{"name", "paris", "region", "eu-west-3", "kind", "keys", "access", "AKIANEW", "secret", "top-secret-key", "discover", "2m"}
	require.Equal(t, "/ui/clouds?done=saved", admin.post("/clouds", form...).location())
	require.Equal(t, "paris eu-west-3 AKIANEW top-secret-key 2m0s", strings.Join([]string{fake.spec.Name, fake.spec.Region, fake.spec.AccessKey, fake.spec.SecretKey.Reveal(), fake.spec.Discover.String()}, " "))
	require.Equal(t, "/ui"+at+"?done=saved", admin.post(at, form...).location())
	require.Equal(t, at, "/clouds/"+itoa(fake.id))
	fake.err = &fleet.InvalidError{Text: "the credentials do not work"}
	for _, path := range []string{"/clouds", at} {
		p := admin.post(path, form...)
		require.Equal(t, http.StatusUnprocessableEntity, p.status)
		require.Contains(t, textOf(p.root), "the credentials do not work")
		require.Contains(t, p.body, `value="AKIANEW"`, "what was typed is still there")
		require.NotContains(t, p.body, "top-secret-key", "but for the secret")
	}
	p := admin.post(at + "/remove")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	fake.err = nil
	require.Equal(t, http.StatusUnprocessableEntity, admin.post("/clouds", "name", "a", "region", "b-c", "discover", "often").status)
	require.Equal(t, "/ui/clouds?done=saved", admin.post("/clouds", "name", "a", "region", "b-c", "kind", "ambient", "access", "ignored", "secret", "ignored").location())
	require.True(t, fake.spec.Ambient)
	require.Empty(t, fake.spec.AccessKey+fake.spec.SecretKey.Reveal())
	for _, path := range []string{"/clouds", at, at + "/remove"} {
		body := admin.sees(path).body
		require.NotContains(t, body, "sealed-secret-key")
		require.NotContains(t, body, "top-secret-key")
	}
	require.Equal(t, "/ui/clouds?done=deleted", admin.post(at+"/remove").location())
	require.Equal(t, http.StatusNotFound, admin.get(at).status)
	require.NotContains(t, admin.sees("/clouds/"+itoa(store.DefaultCloud)).body, `name="secret"`, "the default cloud gets none")
}

func TestDeployments(t *testing.T) {
	w := start(t)
	v := w.as("operator")
	v.sees("/deployments", "Default")
	at := strings.TrimPrefix(strings.TrimSuffix(v.post("/deployments", "name", "shop", "description", "of the shop").location(), "?done=saved"), "/ui")
	v.sees(at, "shop", "None.")
	require.Equal(t, http.StatusUnprocessableEntity, v.post("/deployments", "name", "shop").status)
	require.Equal(t, "/ui"+at+"?done=saved", v.post(at, "name", "shops", "description", "", "scope", "account", "locked", "1").location())
	d, err := w.fleet.DB.DeploymentByName(t.Context(), fleet.DefaultAccount, "shops")
	require.NoError(t, err)
	require.True(t, d.Locked)
	require.Equal(t, "account", d.ServerTagScope)
	p := v.post(at, "name", "", "scope", "account")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(all(p.root, "h1")[0]), "shops", "the heading is the name that it has")
	server := w.server("web-1")
	require.NoError(t, w.fleet.UpdateServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, server.ID, fleet.ServerPatch{DeploymentID: &d.ID}))
	v.sees(at, "web-1")
	require.Equal(t, http.StatusUnprocessableEntity, v.post(at+"/delete").status)
	require.NoError(t, w.fleet.DeleteServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-1", false))
	v.post(at, "name", "shops", "scope", "account")
	v.sees(at+"/delete", "Delete the deployment shops?")
	require.Equal(t, "/ui/deployments?done=deleted", v.post(at+"/delete").location())
	o := w.as("observer")
	require.NotContains(t, o.sees("/deployments", "Default").body, "New deployment")
}

func TestArrays(t *testing.T) {
	w := start(t)
	v := w.as("operator")
	cloud := w.region("ireland")
	form := []string{"name", "front", "size", "2", "template", itoa(w.template), "cloud", itoa(cloud), "image", "ami-0abc"}
	at := strings.TrimPrefix(strings.TrimSuffix(v.post("/arrays", form...).location(), "?done=saved"), "/ui")
	v.sees("/arrays", "front")
	v.sees(at, "they are made by the first launch")
	for _, bad := range [][]string{{"size", "x"}, {"size", "501"}, {"template", ""}, {"name", ""}, {"name", "front"}} {
		p := v.post("/arrays", append([]string{bad[0], bad[1]}, form...)...)
		require.Equal(t, http.StatusUnprocessableEntity, p.status, bad)
	}
	v.sees(at+"/launch", "Launch the servers of front?")
	require.Equal(t, "/ui"+at+"?done=launched", v.post(at+"/launch").location())
	require.Len(t, w.machines.calls, 2)
	v.sees(at, "front #1", "front #2")
	require.Equal(t, "/ui"+at+"?done=saved", v.post(at, "name", "fronts", "size", "3").location())
	require.Equal(t, http.StatusUnprocessableEntity, v.post(at, "name", "fronts", "size", "many").status)
	w.machines.err = &fleet.RefusedError{Text: "no capacity"}
	require.Contains(t, textOf(v.post(at+"/launch").root), "no capacity")
	require.Equal(t, "/ui"+at+"?done=terminate", v.post(at+"/terminate").location(), "nothing runs")
	require.Equal(t, http.StatusNotFound, v.get(at+"/explode").status)
	require.Equal(t, "/ui/arrays?done=deleted", v.post(at+"/delete").location())
	_, err := w.fleet.DB.ServerByName(t.Context(), fleet.DefaultAccount, "front #1")
	require.ErrorIs(t, err, store.ErrNotFound)
}

// What counts at the next launch can be changed.
func TestSettings(t *testing.T) {
	w := start(t)
	server, cloud := w.server("web-1"), w.region("ireland")
	at := "/servers/" + itoa(server.ID)
	v := w.as("operator")
	v.sees(at, "settings")
	v.sees(at+"/settings", "Settings of web-1", "ireland", "Default")
	form := []string{"name", "web-one", "description", "new", "deployment", itoa(server.DeploymentID), "cloud", itoa(cloud), "image", "ami-0def", "type", "t3.large", "subnet", "subnet-1",
		"groups", "sg-1, sg-2", "key", "ann", "user-data", "a=b\r\nc"}
	require.Equal(t, "/ui"+at+"?done=settings", v.post(at+"/settings", form...).location())
	got, err := w.fleet.DB.Server(t.Context(), server.ID)
	require.NoError(t, err)
	require.Equal(t, store.Launch{CloudID: cloud, ImageUID: "ami-0def", InstanceType: "t3.large", SubnetUID: "subnet-1", SecurityGroupUIDs: []string{"sg-1", "sg-2"}, SSHKeyUID: "ann"}, got.Launch)
	require.Equal(t, "web-one new a=b\nc", strings.Join([]string{got.Name, got.Description, got.UserData}, " "))
	body := v.sees(at + "/settings").body
	for _, value := range []string{"ami-0def", "t3.large", "sg-1 sg-2", "subnet-1"} {
		require.Contains(t, body, `value="`+value+`"`)
	}
	for name, bad := range map[string][]string{"name": {"name", ""}, "cloud": {"cloud", "999"}, "deployment": {"deployment", "999"}, "image": {"mci", "999"}} {
		p := v.post(at+"/settings", append(bad, form...)...)
		require.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusNotFound}, p.status, name)
	}
}

// A designer changes which scripts a ServerTemplate has, and their order.
func TestBindings(t *testing.T) {
	w := start(t)
	at := "/templates/" + itoa(w.template)
	require.NotContains(t, w.as("operator").sees(at).body, "Put a script in")
	v := w.as("designer")
	order := func() string {
		t.Helper()
		all, err := w.fleet.DB.Bindings(t.Context(), w.template)
		require.NoError(t, err)
		var names []string
		for _, b := range all {
			names = append(names, b.Sequence[:1]+":"+strings.TrimPrefix(b.Script.Name, "Test "))
		}
		return strings.Join(names, " ")
	}
	id := func(name string) string {
		all, err := w.fleet.DB.Bindings(t.Context(), w.template)
		require.NoError(t, err)
		for _, b := range all {
			if b.Sequence[:1]+":"+strings.TrimPrefix(b.Script.Name, "Test ") == name {
				return itoa(b.ID)
			}
		}
		return "0"
	}
	require.Equal(t, "B:install B:start O:start D:stop", order())
	v.sees(at, "Put a script in", "Up : Test start")
	done := "/ui" + at + "?done=scripts"
	require.Equal(t, done, v.post(at+"/scripts", "do", "up", "binding", id("B:start")).location())
	require.Equal(t, "B:start B:install O:start D:stop", order())
	require.Equal(t, done, v.post(at+"/scripts", "do", "up", "binding", id("B:start")).location(), "it is the first already")
	require.Equal(t, done, v.post(at+"/scripts", "do", "down", "binding", id("B:install")).location(), "it is the last of its list")
	require.Equal(t, done, v.post(at+"/scripts", "do", "down", "binding", id("B:start")).location())
	require.Equal(t, "B:install B:start O:start D:stop", order())
	stop, err := w.fleet.DB.RightScriptID(t.Context(), fleet.DefaultAccount, "Test stop")
	require.NoError(t, err)
	require.Equal(t, done, v.post(at+"/scripts", "do", "add", "script", itoa(stop), "sequence", "Operational").location())
	require.Equal(t, "B:install B:start O:start O:stop D:stop", order())
	require.Equal(t, done, v.post(at+"/scripts", "do", "remove", "binding", id("O:start")).location())
	require.Equal(t, "B:install B:start O:stop D:stop", order())
	for _, bad := range [][]string{{"do", "explode"}, {"do", "add", "sequence", "Boot"}, {"do", "add", "script", itoa(stop), "sequence", "never"}} {
		require.Equal(t, http.StatusUnprocessableEntity, v.post(at+"/scripts", bad...).status, bad)
	}
	for _, bad := range [][]string{{"do", "up", "binding", "999"}, {"do", "remove", "binding", "999"}, {"do", "add", "script", "999", "sequence", "Boot"}} {
		require.Equal(t, http.StatusNotFound, v.post(at+"/scripts", bad...).status, bad)
	}
}

// What is locked is unlocked here too.
func TestLockAndUnlock(t *testing.T) {
	w := start(t)
	server := w.server("web-1")
	w.enrol(server, "i-0123456789abcdef0")
	at := "/servers/" + itoa(server.ID)
	v := w.as("operator")
	require.NotContains(t, v.sees(at, "Lock").body, "/unlock")
	v.sees(at+"/lock", "Lock the instance of web-1?")
	require.Equal(t, "/ui"+at+"?done=lock", v.post(at+"/lock").location())
	v.sees(at, "locked", "Unlock")
	require.Contains(t, textOf(v.post(at+"/terminate").root), "is locked")
	require.Equal(t, "/ui"+at+"?done=unlock", v.post(at+"/unlock").location())
	require.Equal(t, "/ui"+at+"?done=terminate", v.post(at+"/terminate").location())

	idle := w.server("web-2")
	require.Contains(t, textOf(v.post("/servers/"+itoa(idle.ID)+"/lock").root), "no instance")

	id, err := w.fleet.DB.CreateRawInstance(t.Context(), store.Instance{AccountID: fleet.DefaultAccount, CloudID: w.region("ireland"), UID: fleet.NewUID(), ResourceUID: "i-0fedcba9876543210", State: "operational", CloudState: "running"}, w.fleet.Now())
	require.NoError(t, err)
	raw, err := w.fleet.DB.Instance(t.Context(), id)
	require.NoError(t, err)
	at = "/instances/" + raw.UID
	require.Equal(t, "/ui"+at+"?done=lock", v.post(at+"/lock").location())
	v.sees(at, "locked", "Unlock")
	require.Contains(t, textOf(v.post(at+"/terminate").root), "is locked")
	require.Equal(t, "/ui"+at+"?done=unlock", v.post(at+"/unlock").location())
}

// Who has roles in several accounts can change from one to the other; the roles
// are those of the account.
func TestAccountSwitching(t *testing.T) {
	w := start(t)
	other := w.secondAccount()
	_, err := w.access.AddUser(t.Context(), other, access.NewUser{Email: "admin@example.net", Roles: []access.Role{access.Observer}}, "test")
	require.NoError(t, err)
	w.server("web-1")
	v := w.as("admin")
	v.sees("/servers", "web-1")
	v.sees("/me", "Accounts", "you are here")
	old := v.cookie()
	require.Equal(t, "/ui/?done=account", v.post("/me/account", "account", itoa(other)).location())
	require.NotEqual(t, old, v.cookie(), "a new session")
	require.Contains(t, w.withCookie(old).get("/").location(), "/login", "and the old one is over")
	require.NotContains(t, textOf(v.sees("/servers").root), "web-1")
	require.Equal(t, http.StatusForbidden, v.get("/users").status, "an observer there")
	require.Equal(t, "/ui/?done=account", v.post("/me/account", "account", "1").location())
	v.sees("/users")

	o := w.as("operator")
	require.NotContains(t, textOf(o.sees("/me").root), "Accounts")
	for _, account := range []string{strconv.FormatInt(other, 10), "999", "", "x"} {
		require.Equal(t, http.StatusUnprocessableEntity, o.post("/me/account", "account", account).status, account)
	}
	o.sees("/servers", "web-1")
}
