// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func valueOf(p page, name string) string {
	for _, n := range all(p.root, "input") {
		if attr(n, "name") == name {
			return attr(n, "value")
		}
	}
	return ""
}

// A server is made with a form that asks for more as it learns more, keeps what
// was filled in, and says what is wrong.
func TestCreateServer(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	v := w.as("operator")
	p := v.sees("/servers/new", "ServerTemplate", "choose one")
	require.NotContains(t, p.body, "kind.PORT")
	st := itoa(w.template)
	p = v.post("/servers", "name", "web-1", "description", "the first", "template", st, "show", "1")
	require.Equal(t, 200, p.status)
	require.Contains(t, p.body, "kind.PORT")
	require.Contains(t, textOf(p.root), "no credentials for the cloud")
	require.Equal(t, []string{"web-1", "the first"}, []string{valueOf(p, "name"), valueOf(p, "description")})
	servers, err := w.fleet.DB.Servers(ctx, fleet.DefaultAccount)
	require.NoError(t, err)
	require.Empty(t, servers, "it was only asked what the template wants")

	for name, c := range map[string]struct {
		form []string
		want string
	}{
		"no template":   {[]string{"name", "web-1"}, "Choose a ServerTemplate"},
		"no name":       {[]string{"name", "", "template", st}, "server name"},
		"bad value":     {[]string{"name", "web-1", "template", st, "kind.PORT", "env", "value.PORT", "a b"}, "Input PORT"},
		"not a choice":  {[]string{"name", "web-1", "template", st, "kind.MODE", "text", "value.MODE", "loud"}, "MODE"},
		"unknown input": {[]string{"name", "web-1", "template", st, "kind.NOPE", "text", "value.NOPE", "x"}, "NOPE"},
		"bad enrolment": {[]string{"name", "web-1", "template", st, "enrolment", "trust me"}, "attested or legacy"},
	} {
		p := v.post("/servers", c.form...)
		require.Equal(t, http.StatusUnprocessableEntity, p.status, name)
		require.Contains(t, textOf(p.root), c.want, name)
		require.Equal(t, c.form[1], valueOf(p, "name"), name)
		require.Empty(t, faults(p.root), name)
	}
	p = v.post("/servers", "name", "web-1", "template", st, "kind.PORT", "inherit", "value.PORT", "9090", "kind.PASSWORD", "cred", "value.PASSWORD", "DB_PASSWORD", "kind.MODE", "inherit", "value.MODE", "")
	require.Equal(t, http.StatusSeeOther, p.status, p.body)
	v.sees(p.location(), "The server was created.", "web-1", "inactive", "text:9090", "cred:DB_PASSWORD", "text:fast", "No instance yet")
	view, err := w.fleet.ServerByName(ctx, fleet.DefaultAccount, "web-1")
	require.NoError(t, err)
	require.Equal(t, inputs(t, "PORT=text:9090", "PASSWORD=cred:DB_PASSWORD"), view.Inputs)
	p = v.post("/servers", "name", "web-1", "template", st)
	require.Contains(t, textOf(p.root), "exists already")
	require.Equal(t, http.StatusNotFound, v.get("/servers/new?template=99").status)
	require.Equal(t, http.StatusNotFound, v.get("/servers/new?cloud=99").status)
}

func TestLaunch(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	cloud := w.cloud()
	v := w.as("operator")
	p := v.post("/servers", "name", "web-1", "template", itoa(w.template), "cloud", itoa(cloud), "image", "ami-0abc", "type", "t3.small", "groups", "sg-1, sg-2", "key", "ops", "subnet", "subnet-1", "launch", "1")
	require.Equal(t, http.StatusSeeOther, p.status, p.body)
	require.Contains(t, p.location(), "done=launched")
	server, err := w.fleet.DB.ServerByName(ctx, fleet.DefaultAccount, "web-1")
	require.NoError(t, err)
	require.Equal(t, store.Launch{CloudID: cloud, ImageUID: "ami-0abc", InstanceType: "t3.small", SubnetUID: "subnet-1", SecurityGroupUIDs: []string{"sg-1", "sg-2"}, SSHKeyUID: "ops"}, server.Launch)
	at := "/servers/" + itoa(server.ID)
	v.sees(at+"/launch", "Frankfurt (eu-central-1)", "ami-0abc", "t3.small", "subnet-1", "PORT", "for this instance only")
	require.Contains(t, v.post(at+"/launch", "kind.PORT", "text", "value.PORT", "81").location(), "done=launched")
	id := itoa(server.ID)
	require.Equal(t, []string{"launch " + id + " operator@example.net", "launch PORT=text:81 " + id + " operator@example.net"}, w.machines.calls)
	w.machines.err = &fleet.InvalidError{Text: "no image is named"}
	p = v.post(at+"/launch", "kind.PORT", "text", "value.PORT", "82")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "no image is named")
	require.Equal(t, "82", valueOf(p, "value.PORT"))

	// Without credentials, or without a launcher, it says what to do instead.
	w.machines.err, w.machines.calls = nil, nil
	plain := w.server("web-2")
	p = v.post("/servers/" + itoa(plain.ID) + "/launch")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "no cloud credentials")
	w.web.opt.Machines = nil
	require.Equal(t, http.StatusUnprocessableEntity, v.post(at+"/launch").status)
	require.Empty(t, w.machines.calls)
}

func TestUserData(t *testing.T) {
	w := start(t)
	at := "/servers/" + itoa(w.server("web-1").ID) + "/user-data"
	v := w.as("operator")
	require.NotContains(t, v.sees(at, "User-data of web-1").body, "RS_rn_auth", "a link alone brings no token")
	p := v.post(at, "form", "query")
	require.Equal(t, 200, p.status)
	require.Contains(t, textOf(p.root), "RS_rn_auth=")
	require.Contains(t, textOf(p.root), "RS_server=rs.example.net")
	require.Contains(t, textOf(v.post(at, "form", "mime").root), "Content-Type: multipart/mixed")
	require.Equal(t, http.StatusUnprocessableEntity, v.post(at, "form", "floppy").status)

	attested, err := w.fleet.CreateServer(context.Background(), fleet.DefaultAccount, fleet.ServerSpec{Name: "web-2", Template: "Test web"})
	require.NoError(t, err)
	at = "/servers/" + itoa(attested.ID) + "/user-data"
	v.sees(at, "a new token, and the one before is worth nothing")
	require.NotEqual(t, v.post(at, "form", "query").body, v.post(at, "form", "query").body)
}

// The page of a server offers what makes sense, and does it.
func TestServerActions(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	server := w.server("web-1")
	at := "/servers/" + itoa(server.ID)
	v, observer := w.as("operator"), w.as("observer")
	v.sees(at, "inactive", "Launch", "Delete")
	p := v.post(at + "/reboot")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "no running instance")

	a := w.enrol(server, "i-0123456789abcdef0")
	v.sees(at, "operational", "i-0123456789abcdef0", "10.0.0.7", "Reboot", "Stop", "Terminate", "booting → operational")
	p = observer.sees(at, "operational", "Test start")
	for _, word := range []string{"Terminate", "Run a script", "user-data", "Change tags"} {
		require.NotContains(t, textOf(p.root), word)
	}
	for _, kind := range []string{"reboot", "stop", "terminate"} {
		v.sees(at+"/"+kind, "the instance of web-1?", "decommission scripts")
		require.Equal(t, "/ui"+at+"?done="+kind, v.post(at+"/"+kind).location())
	}
	events, err := w.fleet.DB.Events(ctx, a.sess.Token.InstanceID, w.fleet.Now())
	require.NoError(t, err)
	require.Len(t, events, 3)
	require.Empty(t, w.machines.calls, "its cloud cannot be called: the agent is asked")
	p = v.post(at + "/delete")
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "living instance")
	require.Contains(t, v.post(at+"/relaunch").location(), "done=relaunch")
	v.sees(at, "inactive")
	require.Equal(t, "/ui/servers?done=delete", v.post(at+"/delete").location())
	v.sees("/servers?done=delete", "The server was deleted.", "no servers yet")

	// With a cloud that can be called, the machines are asked.
	cloud := w.cloud()
	second, err := w.fleet.CreateServer(ctx, fleet.DefaultAccount, fleet.ServerSpec{Name: "web-2", Template: "Test web", Enrolment: wire.EnrolLegacy, Launch: store.Launch{CloudID: cloud}, Inputs: inputs(t, "PASSWORD=text:x")})
	require.NoError(t, err)
	at = "/servers/" + itoa(second.ID)
	b := w.enrol(second, "i-0fedcba9876543210")
	for _, kind := range []string{"reboot", "stop", "start", "terminate"} {
		require.Contains(t, v.post(at+"/"+kind).location(), "done="+kind)
	}
	require.Contains(t, v.post(at+"/relaunch").location(), "done=relaunch")
	inst := itoa(b.sess.Token.InstanceID) + " operator@example.net"
	require.Equal(t, []string{"reboot " + inst, "stop " + inst, "start " + inst, "terminate " + inst, "relaunch " + itoa(second.ID) + " operator@example.net"}, w.machines.calls)
}

func TestTags(t *testing.T) {
	w := start(t)
	server := w.server("web-1")
	w.enrol(server, "i-0123456789abcdef0")
	at := "/servers/" + itoa(server.ID)
	v := w.as("operator")
	require.Contains(t, v.post(at+"/tags", "add", "app:role=web").location(), "done=tagged")
	v.sees(at, "app:role=web")
	require.Contains(t, v.post(at+"/tags", "add", "app:role=db", "remove", "app:role=web").location(), "done=tagged")
	require.NotContains(t, v.sees(at, "app:role=db").body, "app:role=web\"")
	for _, form := range [][]string{nil, {"add", "a:b"}, {"add", strings.Repeat("x", 300)}} {
		require.Equal(t, http.StatusUnprocessableEntity, v.post(at+"/tags", form...).status)
	}
}

// Inputs show the value that counts, from wherever it comes, and can be changed
// for the server and for the instance it has.
func TestInputs(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	server := w.server("web-1")
	a := w.enrol(server, "i-0123456789abcdef0")
	by := fleet.By{Account: fleet.DefaultAccount, Who: "test"}
	require.NoError(t, w.fleet.SetDeploymentInputs(ctx, by, server.DeploymentID, inputs(t, "TITLE=text:Shop", "PASSWORD=text:nope")))
	at := "/servers/" + itoa(server.ID)
	v := w.as("operator")
	p := v.sees(at+"/inputs", "PORT", "Also for the instance")
	require.Equal(t, "DB_PASSWORD", valueOf(p, "value.PASSWORD"))
	require.Contains(t, p.body, `placeholder="text:Shop"`)
	require.Contains(t, p.body, `placeholder="text:nope"`, "what it would inherit")

	require.Contains(t, v.post(at+"/inputs", "kind.PORT", "text", "value.PORT", "81", "kind.PASSWORD", "cred", "value.PASSWORD", "DB_PASSWORD", "kind.TITLE", "inherit").location(), "done=inputs")
	require.Contains(t, v.post(at+"/inputs", "now", "1", "kind.MODE", "text", "value.MODE", "safe").location(), "done=inputs")
	v.sees(at+"?done=inputs", "The inputs were changed.", "text:81 server", "text:Shop deployment", "text:safe instance", "cred:DB_PASSWORD server")
	require.Contains(t, v.post(at+"/inputs", "kind.PASSWORD", "inherit").location(), "done=inputs")
	v.sees(at, "text:nope deployment")
	for _, form := range [][]string{{"kind.MODE", "text", "value.MODE", "loud"}, {"kind.PORT", "env", "value.PORT", "a b"}} {
		p = v.post(at+"/inputs", form...)
		require.Equal(t, http.StatusUnprocessableEntity, p.status)
		require.Empty(t, faults(p.root))
	}

	// The page and the fleet agree on what counts.
	now, err := w.fleet.DB.Server(ctx, server.ID)
	require.NoError(t, err)
	want, err := w.fleet.ServerInputs(ctx, now, a.sess.Token.InstanceID)
	require.NoError(t, err)
	text := textOf(v.sees(at).root)
	for _, in := range want {
		if in.Value.Kind != "inherit" {
			require.Contains(t, text, in.Name+" "+in.Value.String())
		}
	}
}

// What somebody has locked is not ended, and runs no script.
func TestLocked(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	server := w.server("web-1")
	a := w.enrol(server, "i-0123456789abcdef0")
	require.NoError(t, w.fleet.LockInstance(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, a.sess.Token.InstanceID, true))
	v := w.as("operator")
	for _, kind := range []string{"terminate", "stop", "relaunch"} {
		p := v.post("/servers/" + itoa(server.ID) + "/" + kind)
		require.Equal(t, http.StatusUnprocessableEntity, p.status, kind)
		require.Contains(t, textOf(p.root), "is locked", kind)
	}
	p := v.post("/run", "server", itoa(server.ID), "script", itoa(w.script()))
	require.Equal(t, http.StatusUnprocessableEntity, p.status)
	require.Contains(t, textOf(p.root), "is locked")
	require.Equal(t, http.StatusSeeOther, v.post("/servers/"+itoa(server.ID)+"/reboot").status)
}

// script is the operational script of the test's ServerTemplate.
func (w *world) script() int64 {
	w.t.Helper()
	scripts, err := w.fleet.DB.BoundScripts(context.Background(), w.template, "Operational")
	require.NoError(w.t, err)
	return scripts[0].ID
}

// A live part comes when it has changed, and only then.
func TestLiveParts(t *testing.T) {
	w := start(t)
	server := w.server("web-1")
	v := w.as("operator")
	ajax := func(path string) page {
		return v.do(http.MethodGet, path, nil, func(r *http.Request) { r.Header.Set("HX-Request", "true") })
	}
	for _, path := range []string{"/servers/" + itoa(server.ID), "/servers", "/audit", "/instances"} {
		have := valueOf(v.sees(path), "have")
		require.NotEmpty(t, have, path)
		require.Equal(t, http.StatusNoContent, ajax(path+"?have="+have).status, path)
	}
	path := "/servers/" + itoa(server.ID)
	have := valueOf(v.sees(path), "have")
	w.enrol(server, "i-0123456789abcdef0")
	p := ajax(path + "?have=" + have)
	require.Equal(t, 200, p.status)
	require.Contains(t, textOf(p.root), "operational")
	require.NotEqual(t, have, valueOf(p, "have"))
	require.Equal(t, http.StatusNoContent, ajax(path+"?have="+valueOf(p, "have")).status)
}

func TestRunScript(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	one, two, idle := w.server("web-1"), w.server("web-2"), w.server("idle")
	a := w.enrol(one, "i-0123456789abcdef0")
	w.enrol(two, "i-0fedcba9876543210")
	v := w.as("operator")
	scripts, err := w.fleet.DB.BoundScripts(ctx, w.template, "Operational")
	require.NoError(t, err)
	script, q := itoa(scripts[0].ID), "/run?server="+itoa(one.ID)
	p := v.sees(q, "web-1", "Test start (Operational)", "Test install (Boot)")
	require.NotContains(t, p.body, "kind.PORT")
	p = v.sees(q+"&script="+script, "PORT", "COLORS", "Thread")
	require.Contains(t, p.body, `placeholder="text:8080"`, "what is inherited")

	p = v.post("/run", "server", itoa(one.ID), "script", script, "kind.PORT", "text", "value.PORT", "99", "thread", "batch")
	require.Equal(t, http.StatusSeeOther, p.status, p.body)
	at := strings.TrimSuffix(p.location(), "?done=queued")
	v.sees(p.location(), "The script was queued.", "Queued: Test start", "operator@example.net", "web-1", "live")
	events, err := w.fleet.Events(ctx, a.sess, "h")
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Contains(t, string(events[0].Data), `"PORT":"99"`)
	require.Contains(t, string(events[0].Data), `"batch"`)
	v.sees(at)

	for name, c := range map[string]struct {
		form []string
		want string
	}{
		"no script":    {[]string{"server", itoa(one.ID)}, "Choose a script"},
		"not running":  {[]string{"server", itoa(idle.ID), "script", script}, "no running instance"},
		"bad thread":   {[]string{"server", itoa(one.ID), "script", script, "thread", "A B"}, "thread"},
		"bad value":    {[]string{"server", itoa(one.ID), "script", script, "kind.PORT", "array", "value.PORT", "["}, "Input PORT"},
		"no input":     {[]string{"server", itoa(one.ID), "script", script, "kind.NOPE", "text", "value.NOPE", "1"}, "has no input NOPE"},
		"missing cred": {[]string{"server", itoa(one.ID), "script", script, "kind.PORT", "cred", "value.PORT", "NOPE"}, "needs values for: PORT"},
	} {
		p := v.post("/run", c.form...)
		require.Equal(t, http.StatusUnprocessableEntity, p.status, name)
		require.Contains(t, textOf(p.root), c.want, name)
		require.Empty(t, faults(p.root), name)
	}
	require.Equal(t, http.StatusUnprocessableEntity, v.get("/run").status, "no server was chosen")
	require.Equal(t, http.StatusNotFound, v.get("/run?server=x").status)
	require.Equal(t, http.StatusNotFound, v.get(q+"&script=99").status)
	require.Equal(t, http.StatusUnprocessableEntity, v.get("/run?"+strings.Repeat("server=1&", maxTargets+1)).status)

	// On several: each gets its entry, and those that cannot are named.
	p = v.post("/run", "server", itoa(one.ID), "server", itoa(two.ID), "server", itoa(idle.ID), "server", itoa(two.ID), "script", script)
	require.Equal(t, 200, p.status)
	require.Len(t, links(p, "Output of web-1"), 1)
	require.Len(t, links(p, "Output of web-2"), 1)
	require.Contains(t, textOf(p.root), "idle not run server \"idle\" has no running instance")
}
