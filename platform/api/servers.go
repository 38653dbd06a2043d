// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// serverResource shows a server with its instances.
func (c *call) serverResource(server store.Server, view string) (resource, error) {
	href := fleet.ServerHref(server.ID)
	inst, living, err := c.fleet.CurrentInstance(c.ctx(), server)
	if err != nil {
		return nil, err
	}
	links := []wire.Link{link("self", href), link("cloud", cloudHref(server.CloudID))}
	if server.DeploymentID != 0 {
		links = append(links, link("deployment", fleet.DeploymentHref(server.DeploymentID)))
	}
	actions := []string{"launch", "clone"}
	if living {
		links, actions = append(links, link("current_instance", fleet.InstanceHref(inst))), []string{"terminate", "clone"}
	}
	links = append(links, link("next_instance", fleet.NextHref(server)), link("alert_specs", href+"/alert_specs"), link("alerts", href+"/alerts"))
	r := object(resource{"name": server.Name, "description": server.Description, "state": server.State,
		"created_at": wire.FormatTime(server.CreatedAt), "updated_at": wire.FormatTime(server.UpdatedAt)}, links, actions...)
	if view != "instance_detail" {
		return r, nil
	}
	if r["next_instance"], err = c.nextResource(server, "full"); err == nil && living {
		r["current_instance"], err = c.instanceResource(inst, server, "full")
	}
	return r, err
}

func (c *call) servers() (reply, error) {
	view := c.view("instance_detail")
	in, err := c.inDeployment()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.Servers(c.ctx(), c.who.AccountID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, 0, len(all))
	for _, server := range all {
		if in != 0 && server.DeploymentID != in {
			continue
		}
		r, err := c.serverResource(server, view)
		if err != nil {
			return reply{}, err
		}
		list = append(list, r)
	}
	return c.index("server", list, "name", "deployment_href", "cloud_href")
}

// inDeployment is the deployment of the path, 0 without one.
func (c *call) inDeployment() (int64, error) {
	if chi.URLParam(c.r, "deployment") == "" {
		return 0, nil
	}
	d, err := c.theDeployment()
	return d.ID, err
}

// theServer finds the server of the path, in the path's deployment if it names
// one.
func (c *call) theServer() (server store.Server, err error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return server, err
	}
	in, err := c.inDeployment()
	if err != nil {
		return server, err
	}
	server, err = c.fleet.ServerByID(c.ctx(), c.who.AccountID, id)
	if err == nil && in != 0 && server.DeploymentID != in {
		err = fmt.Errorf("server %d: %w", id, store.ErrNotFound)
	}
	return server, err
}

func (c *call) server() (reply, error) {
	view := c.view("instance_detail")
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	r, err := c.serverResource(server, view)
	if err != nil {
		return reply{}, err
	}
	return shown("server", r)
}

// launchParams reads a launch configuration; what was not sent is nil. have is
// the cloud that hrefs must be of, unless another one is sent.
func (c *call) launchParams(p *params, have int64) (l fleet.LaunchPatch, err error) {
	if cloud := p.href("cloud_href", "clouds"); cloud != 0 {
		l.CloudID, have = &cloud, cloud
	}
	if mci := p.href("multi_cloud_image_href", "multi_cloud_images"); p.has("multi_cloud_image_href") {
		l.MCIID = &mci
	}
	for field, into := range map[string]struct {
		kind string
		to   **string
	}{
		"image_href":         {"images", &l.ImageUID},
		"instance_type_href": {"instance_types", &l.InstanceType},
		"ssh_key_href":       {"ssh_keys", &l.SSHKeyUID},
	} {
		if !p.has(field) {
			continue
		}
		name, err := c.ownName(p, field, into.kind, have, "")
		if err != nil {
			return l, err
		}
		*into.to = &name
	}
	subnets, err := c.ownNames(p, "subnet_hrefs", "subnets", have)
	if err != nil {
		return l, err
	}
	if len(subnets) > 1 {
		p.wrong("subnet_hrefs", "one subnet")
	}
	if len(subnets) == 1 {
		l.SubnetUID = &subnets[0]
	}
	groups, err := c.ownNames(p, "security_group_hrefs", "security_groups", have)
	if p.has("security_group_hrefs") {
		l.SecurityGroupUIDs = &groups
	}
	return l, err
}

// ownNames is ownName for a list of hrefs.
func (c *call) ownNames(p *params, field, kind string, cloudID int64) (names []string, err error) {
	for _, href := range p.texts(field) {
		one := &params{fields: map[string]any{field: href}, at: p.at, first: p.first}
		name, err := c.ownName(one, field, kind, cloudID, "")
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// newServerSpec reads server[...] of a create.
func (c *call) newServerSpec(p *params, name string) (spec fleet.ServerSpec, err error) {
	inst := p.sub("instance")
	inst.need("cloud_href")
	inst.need("server_template_href")
	in, err := c.inDeployment()
	if err != nil {
		return spec, err
	}
	spec = fleet.ServerSpec{Name: name, Description: p.text("description"), TemplateID: inst.href("server_template_href", "server_templates"),
		DeploymentID: p.href("deployment_href", "deployments"), UserData: inst.text("user_data"), Inputs: map[string]rightscript.Value{}, AnyInput: true, By: c.by().Who}
	if spec.DeploymentID == 0 {
		if spec.DeploymentID = inst.href("deployment_href", "deployments"); spec.DeploymentID == 0 {
			spec.DeploymentID = in
		}
	}
	if inst.has("inputs") {
		spec.Inputs = inst.inputs("inputs")
	}
	if err := c.p.problem(); err != nil {
		return spec, err
	}
	launch, err := c.launchParams(inst, 0)
	if err == nil {
		err = c.p.problem()
	}
	spec.Launch = launch.Over(store.Launch{})
	return spec, err
}

func (c *call) createServer() (reply, error) {
	p := c.p.sub("server")
	name := p.need("name")
	spec, err := c.newServerSpec(p, name)
	if err != nil {
		return reply{}, err
	}
	server, err := c.fleet.CreateServer(c.ctx(), c.who.AccountID, spec)
	return created(fleet.ServerHref(server.ID), err)
}

func (c *call) updateServer() (reply, error) {
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	p := c.p.sub("server")
	patch := fleet.ServerPatch{Name: p.opt("name"), Description: p.opt("description")}
	if d := p.href("deployment_href", "deployments"); d != 0 {
		patch.DeploymentID = &d
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateServer(c.ctx(), c.by(), server.ID, patch))
}

// updateInstance changes the launch configuration of a next instance.
func (c *call) updateInstance() (reply, error) {
	t, err := c.theInstance()
	if err != nil {
		return reply{}, err
	}
	if !t.next {
		return reply{}, &fleet.InvalidError{Text: "a running instance cannot be changed; change the next instance of its server"}
	}
	p := c.p.sub("instance")
	launch, err := c.launchParams(p, t.server.CloudID)
	if err != nil {
		return reply{}, err
	}
	patch := fleet.ServerPatch{Launch: launch, UserData: p.opt("user_data"), Name: p.opt("name")}
	if st := p.href("server_template_href", "server_templates"); st != 0 {
		patch.TemplateID = &st
	}
	if d := p.href("deployment_href", "deployments"); d != 0 {
		patch.DeploymentID = &d
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateServer(c.ctx(), c.by(), t.server.ID, patch))
}

func (c *call) deleteServer() (reply, error) {
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteServerByID(c.ctx(), c.by(), server.ID))
}

func (c *call) cloneServer() (reply, error) {
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	name := c.p.sub("server").text("name")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	copied, err := c.fleet.CloneServer(c.ctx(), c.by(), server.ID, name)
	return created(fleet.ServerHref(copied.ID), err)
}

func (c *call) unwrapServer() (reply, error) {
	server, err := c.theServer()
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.UnwrapServer(c.ctx(), c.by(), server.ID))
}

var bindingHref = regexp.MustCompile(`^/api/server_templates/(\d{1,18})/runnable_bindings/(\d{1,18})$`)

// enableBindings has a server run scripts of its ServerTemplate, or not.
func enableBindings(enable bool) endpoint {
	return func(c *call) (reply, error) {
		server, err := c.theServer()
		if err != nil {
			return reply{}, err
		}
		var ids []int64
		for _, href := range c.p.texts("runnable_binding_hrefs") {
			m := bindingHref.FindStringSubmatch(href)
			if m == nil || m[1] != itoa64(server.TemplateID) {
				c.p.wrong("runnable_binding_hrefs", "hrefs such as "+fleet.ServerTemplateHref(server.TemplateID)+"/runnable_bindings/1, of the ServerTemplate of the server")
				break
			}
			id, _ := strconv.ParseInt(m[2], 10, 64)
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			c.p.wrong("runnable_binding_hrefs", "one href at least")
		}
		if err := c.p.problem(); err != nil {
			return reply{}, err
		}
		return done(c.fleet.EnableBindings(c.ctx(), c.by(), server.ID, ids, enable))
	}
}

// wrapInstance makes a server for an instance that was found in the cloud. Its
// agent enrols with the server's user-data.
func (c *call) wrapInstance() (reply, error) {
	p := c.p.sub("server")
	inst := p.sub("instance")
	inst.need("href")
	inst.need("server_template_href")
	cloud, uid := inst.cloudHref("href", "instances")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	raw, err := c.fleet.InstanceByUID(c.ctx(), c.who.AccountID, cloud, uid)
	if err == nil && (raw.ServerID != 0 || !fleet.Living(raw)) {
		err = &fleet.InvalidError{Text: "instance " + fleet.NameOf(raw) + " belongs to a server, or does not live any more"}
	}
	if err != nil {
		return reply{}, err
	}
	name := p.text("name")
	if name == "" {
		name = raw.ResourceUID
	}
	inst.fields["cloud_href"] = cloudHref(cloud)
	spec, err := c.newServerSpec(p, name)
	if err != nil {
		return reply{}, err
	}
	spec.Expect = []string{raw.ResourceUID}
	server, err := c.fleet.CreateServer(c.ctx(), c.who.AccountID, spec)
	if err == nil { // it may have run for long
		err = c.fleet.Expect(c.ctx(), c.by(), server.Name, store.Expected{Instances: spec.Expect, AnyAge: true})
	}
	return created(fleet.ServerHref(server.ID), err)
}
