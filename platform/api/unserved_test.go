// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func numberOf(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return n
}

// A machine is launched without a server, with the user-data that was given and
// nothing else, and is a raw instance until it ends.
func TestLaunchWithoutServer(t *testing.T) {
	w := startTools(t)
	ann := w.person(fleet.DefaultAccount, access.Actor)
	at := w.vars["cloud"] + "/instances"
	instance := func(change map[string]any) map[string]any {
		fields := map[string]any{"name": "bastion", "image_href": w.vars["image"], "instance_type_href": w.vars["type"], "user_data": "#!/bin/sh\necho mine\n"}
		for name, value := range change {
			fields[name] = value
		}
		return map[string]any{"instance": fields}
	}
	for name, tc := range map[string]struct {
		path   string
		change map[string]any
		want   string
	}{
		"no name":           {at, map[string]any{"name": nil}, "instance[name] is missing"},
		"no image":          {at, map[string]any{"image_href": nil}, "instance[image_href] is missing"},
		"no type":           {at, map[string]any{"instance_type_href": ""}, "instance[instance_type_href] is missing"},
		"of a server":       {at, map[string]any{"server_template_href": "/api/server_templates/1"}, "that is for servers"},
		"another cloud":     {at, map[string]any{"cloud_href": "/api/clouds/1"}, ""},
		"no such cloud":     {"/api/clouds/99/instances", nil, "ID=99"},
		"no credentials":    {"/api/clouds/1/instances", map[string]any{"image_href": "/api/clouds/1/images/ami-1", "instance_type_href": "/api/clouds/1/instance_types/t3.small"}, "no cloud credentials"},
		"name in two lines": {at, map[string]any{"name": "a\nb"}, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ann.call("POST", tc.path, instance(tc.change), ann.auth)
			require.Contains(t, []int{400, 422}, got.status, got.body)
			require.Contains(t, got.body, tc.want)
		})
	}
	require.Zero(t, w.cloud.Alive())

	href := ann.made(at, instance(nil))
	inst := func() store.Instance {
		i, err := w.fleet.DB.InstanceByUID(t.Context(), fleet.DefaultAccount, path.Base(href))
		require.NoError(t, err)
		return i
	}
	w.cloud.Work("it runs", func() bool { return inst().State == wire.StateOperational })
	i := inst()
	require.Zero(t, i.ServerID)
	require.Equal(t, "running", i.CloudState)
	require.Equal(t, "#!/bin/sh\necho mine\n", w.cloud.UserData(i.ResourceUID))
	var shown struct {
		Name string `json:"name"`
		UID  string `json:"resource_uid"`
	}
	ann.do("GET", href, nil, 200).into(t, &shown)
	require.Equal(t, "bastion", shown.Name)
	require.Equal(t, i.ResourceUID, shown.UID)
	entries, err := w.fleet.SearchAudit(t.Context(), fleet.DefaultAccount, fleet.AuditSearch{To: w.fleet.Now(), Limit: 100, InstanceID: i.ID})
	require.NoError(t, err)
	require.Contains(t, entries[len(entries)-1].Summary, `launch of instance "bastion" without a server requested`)
	require.Equal(t, ann.email, entries[len(entries)-1].UserEmail)

	ann.do("POST", href+"/terminate", nil, 204)
	w.cloud.Work("it ends", func() bool { return inst().State == wire.StateTerminated })
	require.Zero(t, w.cloud.Alive())
}

// A launch that the cloud refuses leaves nothing that lives.
func TestRefusedLaunchWithoutServer(t *testing.T) {
	w := startTools(t)
	ann := w.person(fleet.DefaultAccount, access.Actor)
	require.NoError(t, w.fleet.DB.PutImage(t.Context(), store.Image{CloudID: w.cloud.Cloud.ID, UID: fleet.NewUID(), ResourceUID: "ami-0123456789abcdef0", Name: "gone"}, w.fleet.Now()))
	gone, err := w.fleet.DB.Image(t.Context(), w.cloud.Cloud.ID, "ami-0123456789abcdef0")
	require.NoError(t, err)
	got := ann.do("POST", w.vars["cloud"]+"/instances", map[string]any{"instance": map[string]any{"name": "x", "image_href": w.vars["cloud"] + "/images/" + gone.UID, "instance_type_href": w.vars["type"]}}, 422)
	require.Contains(t, got.body, "RunInstances")
	require.Equal(t, "[]", ann.do("GET", w.vars["cloud"]+"/instances", nil, 200).body)
}

// A server is taken away from around its machine, which goes on without it.
func TestUnwrap(t *testing.T) {
	w := startTools(t)
	ctx := t.Context()
	ann := w.person(fleet.DefaultAccount, access.Actor)
	server := w.cloud.Server("web")
	href := fleet.ServerHref(server.ID)
	scriptID, err := w.fleet.DB.RightScriptID(ctx, fleet.DefaultAccount, "Test install")
	require.NoError(t, err)
	script := fleet.RightScriptHref(scriptID)
	require.Contains(t, ann.do("POST", href+"/unwrap", nil, 422).body, "has no machine")
	at := ann.made(href+"/launch", nil)
	w.cloud.Idle()
	agent := w.cloud.Agent(w.cloud.Current(server).ResourceUID).Boot()
	before := w.cloud.Current(server)
	ann.do("POST", at+"/run_executable", map[string]any{"right_script_href": script}, 202)

	ann.do("POST", href+"/unwrap", nil, 204)
	ann.do("GET", href, nil, 422)
	after := w.cloud.Instance(before.ID)
	require.Zero(t, after.ServerID)
	require.True(t, after.EndedAt.IsZero())
	require.True(t, after.DeclaredAt.IsZero())
	require.Equal(t, "web", after.Name)
	require.Equal(t, wire.StateOperational, after.State)
	require.Contains(t, ann.do("GET", at, nil, 200).body, before.ResourceUID, "with the same href")
	require.Error(t, agent.Prove(), "its agent is shut out")
	require.Contains(t, ann.do("POST", at+"/run_executable", map[string]any{"right_script_href": script}, 422).body, "belongs to no server")
	waiting, err := w.fleet.DB.Events(ctx, before.ID, w.fleet.Now())
	require.NoError(t, err)
	require.Empty(t, waiting)

	// Nobody takes the machine for a leftover, and it can be wrapped again.
	require.NoError(t, w.cloud.Launch.Watch(ctx))
	w.cloud.Idle()
	require.Equal(t, 1, w.cloud.Alive())
	again := ann.made("/api/servers/wrap_instance", map[string]any{"server": map[string]any{"name": "web", "instance": map[string]any{"href": at, "server_template_href": fleet.ServerTemplateHref(server.TemplateID)}}})
	require.NotEqual(t, href, again)
	ann.do("POST", at+"/terminate", nil, 204)
	w.cloud.Work("it ends", func() bool { return w.cloud.Alive() == 0 })
}

// A server can do without some scripts of its ServerTemplate.
func TestDisabledBindings(t *testing.T) {
	w := start(t)
	ann := w.person(fleet.DefaultAccount, access.Actor)
	a := w.login(w.server("web-1", "PASSWORD=text:x")).declare("i-1")
	other := w.login(w.server("web-2", "PASSWORD=text:x")).declare("i-2")
	href := fleet.ServerHref(w.view("web-1").ID)
	tmpl, err := w.fleet.DB.ServerTemplateByName(t.Context(), fleet.DefaultAccount, "Test web")
	require.NoError(t, err)
	template := fleet.ServerTemplateHref(tmpl.ID)
	names := func(b wire.ExecutableBundle) (list []string) {
		for _, script := range b.Executables {
			list = append(list, script.Nickname)
		}
		return list
	}
	require.Equal(t, []string{"Test install", "Test start"}, names(a.boot()))
	var bindings []struct {
		ID       string `json:"id"`
		Sequence string `json:"sequence"`
		Script   struct {
			Name string `json:"name"`
		} `json:"right_script"`
	}
	ann.do("GET", template+"/runnable_bindings", nil, 200).into(t, &bindings)
	var hrefs []string
	for _, b := range bindings {
		if b.Script.Name == "Test start" {
			hrefs = append(hrefs, template+"/runnable_bindings/"+b.ID)
		}
	}
	require.Len(t, hrefs, 2, "boot and operational")
	body := func(hrefs ...string) map[string]any { return map[string]any{"runnable_binding_hrefs": hrefs} }
	ann.do("POST", href+"/disable_runnable_bindings", body(hrefs...), 204)
	require.Equal(t, []string{"Test install"}, names(a.boot()))
	require.Equal(t, []string{"Test install", "Test start"}, names(other.boot()), "the other server runs both")
	a.record("operational", "", "", 204)
	require.Contains(t, a.do("POST", "/api/right_net/scheduler/schedule_right_script", wire.ScheduleRequest{RightScript: "Test start"}, 422).body, "no operational script")
	trail := w.trail("web-1")
	require.Contains(t, trail, "scripts disabled: Test start (Boot), Test start (Operational)")

	// It stays so when the ServerTemplate is uploaded again, and in a copy.
	w.upload("../servertemplate/testdata/web/web.yml")
	require.Equal(t, []string{"Test install"}, names(a.boot()))
	clone := ann.made(href+"/clone", nil)
	off, err := w.fleet.DB.DisabledScripts(t.Context(), numberOf(t, path.Base(clone)))
	require.NoError(t, err)
	require.Len(t, off, 2)

	ann.do("GET", template+"/runnable_bindings", nil, 200).into(t, &bindings)
	hrefs = nil
	for _, b := range bindings {
		if b.Script.Name == "Test start" && strings.EqualFold(b.Sequence, "boot") {
			hrefs = append(hrefs, template+"/runnable_bindings/"+b.ID)
		}
	}
	ann.do("POST", href+"/enable_runnable_bindings", body(hrefs...), 204)
	require.Equal(t, []string{"Test install", "Test start"}, names(a.boot()))

	for name, body := range map[string]any{
		"none": nil, "empty": body(), "no such": body(template + "/runnable_bindings/999999"), "of another ServerTemplate": body("/api/server_templates/999/runnable_bindings/1"), "no href": body("x"),
	} {
		got := ann.call("POST", href+"/disable_runnable_bindings", body, ann.auth)
		require.Contains(t, []int{400, 422}, got.status, "%s: %s", name, got.body)
	}
}
