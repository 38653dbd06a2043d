// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"fmt"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Machines launches and ends machines: package launch.
type Machines interface {
	Launch(ctx context.Context, serverID int64, inputs map[string]string, by string) (store.Instance, error)
	LaunchRaw(ctx context.Context, account int64, r fleet.RawLaunch, by string) (store.Instance, error)
	Terminate(ctx context.Context, instance int64, by string) error
	Reboot(ctx context.Context, instance int64, by string) error
	Stop(ctx context.Context, instance int64, by string) error
	Start(ctx context.Context, instance int64, by string) error
}

var instanceFilters = []string{"name", "resource_uid", "state", "deployment_href", "parent_href", "server_template_href", "multi_cloud_image_href", "cloud_href",
	"public_ip_address", "private_ip_address", "image_href", "instance_type_href"}

// instanceAttributes are those that all views but tiny show.
func (c *call) instanceAttributes(inst store.Instance, server store.Server) (resource, error) {
	locked, err := c.fleet.DB.InstanceLocked(c.ctx(), inst.ID)
	name := inst.Name
	if server.ID != 0 {
		name = server.Name
	}
	if name == "" {
		name = inst.ResourceUID
	}
	r := resource{"name": name, "resource_uid": inst.ResourceUID, "state": inst.State, "public_ip_addresses": texts(inst.PublicIPs),
		"private_ip_addresses": texts(inst.PrivateIPs), "pricing_type": "fixed", "locked": locked, "associate_public_ip_address": len(inst.PublicIPs) > 0,
		"cloud_specific_attributes": map[string]any{}, "created_at": wire.FormatTime(inst.CreatedAt), "updated_at": wire.FormatTime(inst.UpdatedAt)}
	if !inst.EndedAt.IsZero() {
		r["terminated_at"] = wire.FormatTime(inst.EndedAt)
	}
	return r, err
}

func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// instanceLinks are those to what an instance, or a next instance, is made of.
func (c *call) instanceLinks(href string, cloudID int64, server store.Server, image, kind string) ([]wire.Link, error) {
	links := []wire.Link{link("self", href), link("cloud", cloudHref(cloudID))}
	if server.ID != 0 {
		links = append(links, link("parent", fleet.ServerHref(server.ID)), link("server_template", fleet.ServerTemplateHref(server.TemplateID)), link("inputs", href+"/inputs"))
		if server.DeploymentID != 0 {
			links = append(links, link("deployment", fleet.DeploymentHref(server.DeploymentID)))
		}
		if server.MCIID != 0 {
			links = append(links, link("multi_cloud_image", fleet.MultiCloudImageHref(server.MCIID)))
		}
	}
	if image != "" {
		href, err := c.imageHref(cloudID, image)
		if err != nil {
			return nil, err
		}
		links = append(links, link("image", href))
	}
	if kind != "" {
		href, err := c.typeHref(cloudID, kind)
		if err != nil {
			return nil, err
		}
		links = append(links, link("instance_type", href))
	}
	return links, nil
}

// instanceResource shows an instance; server is the zero value for a raw one.
func (c *call) instanceResource(inst store.Instance, server store.Server, view string) (resource, error) {
	href := fleet.InstanceHref(inst)
	if view == "tiny" {
		return object(resource{}, []wire.Link{link("self", href)}), nil
	}
	links, err := c.instanceLinks(href, inst.CloudID, server, inst.ImageUID, inst.InstanceType)
	if err != nil {
		return nil, err
	}
	attributes, err := c.instanceAttributes(inst, server)
	if err != nil {
		return nil, err
	}
	r := object(attributes, links, instanceActions(inst, attributes["locked"] == true)...)
	return r, c.fuller(r, server, inst.ID, view)
}

func instanceActions(inst store.Instance, locked bool) []string {
	if !fleet.Living(inst) {
		return nil
	}
	lock := "lock"
	if locked {
		lock = "unlock"
	}
	if inst.CloudState == "stopped" {
		return []string{"terminate", "start", lock}
	}
	return []string{"terminate", "reboot", "stop", "run_executable", lock}
}

// fuller adds what the full views have besides.
func (c *call) fuller(r resource, server store.Server, instanceID int64, view string) error {
	if view != "full" && view != "full_inputs_2_0" || server.ID == 0 {
		return nil
	}
	r["user_data"] = server.UserData
	values, err := c.fleet.ServerInputs(c.ctx(), server, instanceID)
	r["inputs"] = inputList(values, view)
	return err
}

// nextResource shows the launch configuration of a server.
func (c *call) nextResource(server store.Server, view string) (resource, error) {
	href := fleet.NextHref(server)
	links, err := c.instanceLinks(href, server.CloudID, server, server.ImageUID, server.InstanceType)
	if err != nil {
		return nil, err
	}
	if server.SubnetUID != "" {
		links = append(links, link("subnet", cloudHref(server.CloudID)+"/subnets/"+server.SubnetUID))
	}
	r := object(resource{"name": server.Name, "resource_uid": "", "state": wire.StateInactive, "public_ip_addresses": []string{}, "private_ip_addresses": []string{},
		"pricing_type": "fixed", "locked": false, "associate_public_ip_address": true, "cloud_specific_attributes": map[string]any{},
		"created_at": wire.FormatTime(server.CreatedAt), "updated_at": wire.FormatTime(server.UpdatedAt)}, links, "launch")
	return r, c.fuller(r, server, 0, view)
}

// target is the instance of a path: one that exists, or a next one.
type target struct {
	inst   store.Instance
	server store.Server // the zero value for a raw instance
	next   bool
}

func (c *call) theInstance() (t target, err error) {
	cloudID := c.id("cloud")
	if err := c.p.problem(); err != nil {
		return t, err
	}
	uid := chi.URLParam(c.r, "instance")
	if id, ok := fleet.ServerOfNext(uid); ok {
		t.next = true
		if t.server, err = c.fleet.ServerByID(c.ctx(), c.who.AccountID, id); err == nil && t.server.CloudID != cloudID {
			err = fmt.Errorf("instance %s: %w", uid, store.ErrNotFound)
		}
		return t, err
	}
	if t.inst, err = c.fleet.InstanceByUID(c.ctx(), c.who.AccountID, cloudID, uid); err != nil || t.inst.ServerID == 0 {
		return t, err
	}
	t.server, err = c.fleet.DB.Server(c.ctx(), t.inst.ServerID)
	return t, err
}

// running refuses a next instance where a machine is meant.
func (c *call) running() (t target, err error) {
	if t, err = c.theInstance(); err == nil && t.next {
		err = &fleet.InvalidError{Text: "this is the next instance of a server, which is not running; launch it first"}
	}
	return t, err
}

func (c *call) instanceView() string {
	view := c.view("extended", "full", "full_inputs_2_0", "tiny", "sensitive")
	if view == "sensitive" && !c.who.May(access.Actor) {
		c.p.wrong("view", "another one: sensitive needs the role actor")
	}
	return view
}

func (c *call) instance() (reply, error) {
	view := c.instanceView()
	t, err := c.theInstance()
	if err != nil {
		return reply{}, err
	}
	var r resource
	if t.next {
		r, err = c.nextResource(t.server, view)
	} else {
		r, err = c.instanceResource(t.inst, t.server, view)
	}
	if err != nil {
		return reply{}, err
	}
	return shown("instance", r)
}

// livingInstances lists the instances of the path's cloud that live.
func (c *call) livingInstances() ([]target, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return nil, err
	}
	servers, err := c.fleet.DB.Servers(c.ctx(), c.who.AccountID)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]store.Server, len(servers))
	for _, s := range servers {
		byID[s.ID] = s
	}
	all, err := c.fleet.DB.LivingInstances(c.ctx(), c.who.AccountID, cloud.ID)
	list := make([]target, len(all))
	for i, inst := range all {
		list[i] = target{inst: inst, server: byID[inst.ServerID]}
	}
	return list, err
}

func (c *call) instances() (reply, error) {
	view := c.instanceView()
	all, err := c.livingInstances()
	if err != nil {
		return reply{}, err
	}
	return c.instanceIndex(all, view)
}

func (c *call) instanceIndex(all []target, view string) (reply, error) {
	list := make([]resource, len(all))
	for i, t := range all {
		var err error
		if list[i], err = c.instanceResource(t.inst, t.server, view); err != nil {
			return reply{}, err
		}
		list[i]["public_ip_address"], list[i]["private_ip_address"] = t.inst.PublicIPs, t.inst.PrivateIPs
	}
	rep, err := c.index("instance", list, instanceFilters...)
	for _, r := range list { // these were for the filters
		delete(r, "public_ip_address")
		delete(r, "private_ip_address")
	}
	return rep, err
}

func (c *call) instanceInputs() (reply, error) {
	t, err := c.theInstance()
	if err != nil {
		return reply{}, err
	}
	if t.server.ID == 0 {
		return c.inputIndex(nil, nil)
	}
	return c.inputIndex(c.fleet.ServerInputs(c.ctx(), t.server, t.inst.ID))
}

func (c *call) setInstanceInputs() (reply, error) {
	values, err := c.needInputs()
	if err != nil {
		return reply{}, err
	}
	t, err := c.theInstance()
	if err == nil && t.server.ID == 0 {
		err = &fleet.InvalidError{Text: "an instance without a server has no inputs"}
	}
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.SetServerInputs(c.ctx(), c.by(), t.server.ID, t.inst.ID, values))
}
