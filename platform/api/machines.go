// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// reachable tells whether the platform can call the cloud of an instance.
func (c *call) reachable(inst store.Instance) (bool, error) {
	if c.opt.Machines == nil {
		return false, nil
	}
	for _, id := range []int64{inst.SeenCloudID, inst.CloudID} {
		if id == 0 {
			continue
		}
		cloud, err := c.inCloud(id)
		if err != nil {
			return false, err
		}
		if cloud.Credentials != store.CredentialsNone {
			return true, nil
		}
	}
	return false, nil
}

// machine does something to an instance: through its cloud, or through its
// agent where the platform cannot call the cloud.
func (c *call) machine(t target, kind string) error {
	locked, err := c.fleet.DB.InstanceLocked(c.ctx(), t.inst.ID)
	if err != nil {
		return err
	}
	if locked && (kind == "terminate" || kind == "stop") {
		return &fleet.InvalidError{Text: "instance " + fleet.NameOf(t.inst) + " is locked; unlock it first"}
	}
	switch kind {
	case "lock", "unlock":
		return c.fleet.LockInstance(c.ctx(), c.by(), t.inst.ID, kind == "lock")
	}
	if !fleet.Living(t.inst) {
		return &fleet.InvalidError{Text: "instance " + fleet.NameOf(t.inst) + " is " + t.inst.State}
	}
	ok, err := c.reachable(t.inst)
	if err != nil {
		return err
	}
	if !ok {
		return c.throughAgent(t, kind)
	}
	m, ctx, who := c.opt.Machines, c.ctx(), c.by().Who
	switch kind {
	case "reboot":
		err = m.Reboot(ctx, t.inst.ID, who)
	case "stop":
		err = m.Stop(ctx, t.inst.ID, who)
	case "start":
		err = m.Start(ctx, t.inst.ID, who)
	default:
		err = m.Terminate(ctx, t.inst.ID, who)
	}
	if err == nil {
		c.hub.Wake(t.inst.ID)
	}
	return err
}

func (c *call) throughAgent(t target, kind string) error {
	if kind == "start" {
		return &fleet.InvalidError{Text: "no cloud credentials: the platform cannot start instance " + fleet.NameOf(t.inst)}
	}
	if err := c.fleet.ShutdownInstance(c.ctx(), c.by(), t.inst.ID, kind); err != nil {
		return err
	}
	c.hub.Wake(t.inst.ID)
	return nil
}

func instanceAction(kind string) endpoint {
	return func(c *call) (reply, error) {
		t, err := c.running()
		if err != nil {
			return reply{}, err
		}
		return done(c.machine(t, kind))
	}
}

// serverAction is instanceAction for a server's current instance.
func serverAction(kind string) endpoint {
	return func(c *call) (reply, error) {
		server, err := c.theServer()
		if err != nil {
			return reply{}, err
		}
		inst, living, err := c.fleet.CurrentInstance(c.ctx(), server)
		if err == nil && !living {
			err = &fleet.InvalidError{Text: fmt.Sprintf("server %q has no running instance (its state is %s)", server.Name, server.State)}
		}
		if err != nil {
			return reply{}, err
		}
		return done(c.machine(target{inst: inst, server: server}, kind))
	}
}

// launch launches a machine for a server and answers with its href.
func (c *call) launch(server store.Server) (reply, error) {
	values := map[string]string{}
	for name, v := range c.p.inputs("inputs") {
		values[name] = v.String()
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	ok, err := c.reachable(store.Instance{CloudID: server.CloudID})
	if err != nil {
		return reply{}, err
	}
	if !ok {
		return reply{}, &fleet.InvalidError{Text: fmt.Sprintf("no cloud credentials: the platform cannot launch server %q in cloud %d; put it into a cloud with credentials, or launch a machine with its user-data", server.Name, server.CloudID)}
	}
	inst, err := c.opt.Machines.Launch(c.ctx(), server.ID, values, c.by().Who)
	return created(fleet.InstanceHref(inst), err)
}

func (c *call) launchServer() (reply, error) {
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	return c.launch(server)
}

func (c *call) launchInstance() (reply, error) {
	t, err := c.theInstance()
	if err == nil && !t.next {
		err = &fleet.InvalidError{Text: "only a next instance can be launched"}
	}
	if err != nil {
		return reply{}, err
	}
	return c.launch(t.server)
}

// createInstance launches a machine without a server.
func (c *call) createInstance() (reply, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	p := c.p.sub("instance")
	raw := fleet.RawLaunch{Name: p.need("name"), UserData: p.text("user_data")}
	p.need("image_href")
	p.need("instance_type_href")
	for _, field := range []string{"deployment_href", "server_template_href", "multi_cloud_image_href", "inputs"} {
		if p.has(field) {
			p.wrong(field, "nothing: that is for servers; create one, or wrap_instance this one later")
		}
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	launch, err := c.launchParams(p, cloud.ID)
	if err == nil {
		err = c.p.problem()
	}
	if err != nil {
		return reply{}, err
	}
	raw.Launch = launch.Over(store.Launch{CloudID: cloud.ID})
	ok, err := c.reachable(store.Instance{CloudID: raw.CloudID})
	if err == nil && (!ok || raw.CloudID != cloud.ID) {
		err = &fleet.InvalidError{Text: fmt.Sprintf("no cloud credentials: the platform cannot launch an instance in cloud %d", raw.CloudID)}
		if raw.CloudID != cloud.ID {
			err = &fleet.InvalidError{Text: "instance[cloud_href] is another cloud than that of the path"}
		}
	}
	if err != nil {
		return reply{}, err
	}
	inst, err := c.opt.Machines.LaunchRaw(c.ctx(), c.who.AccountID, raw, c.by().Who)
	return created(fleet.InstanceHref(inst), err)
}

// task shows how a run_executable goes on: it is an audit entry in other words.
func (c *call) task() (reply, error) {
	view := c.view("extended")
	t, err := c.running()
	if err != nil {
		return reply{}, err
	}
	text, ok := strings.CutPrefix(chi.URLParam(c.r, "task"), "ae-")
	var id int64
	if _, serr := fmt.Sscanf(text, "%d", &id); !ok || serr != nil {
		return reply{}, fmt.Errorf("task %s: %w", clip(chi.URLParam(c.r, "task")), store.ErrNotFound)
	}
	e, err := c.fleet.AuditOf(c.ctx(), c.who.AccountID, id)
	if err == nil && (e.InstanceID != t.inst.ID || c.who.agent != nil && e.InstanceID != c.who.InstanceID) {
		err = fmt.Errorf("task ae-%d: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return reply{}, err
	}
	r := object(resource{"summary": taskSummary(e.Summary)}, []wire.Link{link("self", taskHref(t.inst, id)), link("audit_entry", auditHref(id))})
	if view == "extended" {
		if r["detail"], err = c.fleet.AuditDetailOf(c.ctx(), c.who.AccountID, id); err != nil {
			return reply{}, err
		}
	}
	return shown("task", r)
}

// taskSummary begins with the word that tools look for.
func taskSummary(summary string) string {
	for prefix, word := range map[string]string{"Queued: ": "queued: ", "RightScript: ": "running: ", "Completed: ": "completed: ", "Aborted: ": "failed: ", "Stranded: ": "failed: "} {
		if rest, ok := strings.CutPrefix(summary, prefix); ok {
			return word + rest
		}
	}
	return "running: " + summary
}

// userData is the user's own part of the user-data, for the instance itself.
// Its identity is not in it: whoever has this session has that already.
func (c *call) userData() (reply, error) {
	_, server, err := c.fleet.Self(c.ctx(), *c.who.agent)
	if err == nil && server.UserData == "" {
		return reply{status: 200, media: "user_data", body: ""}, nil
	}
	return reply{status: 200, text: server.UserData}, err
}
