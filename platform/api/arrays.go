// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// theTargets are the living instances of the array in the path.
func (c *call) theTargets() ([]target, error) {
	a, err := c.theArray()
	if err != nil {
		return nil, err
	}
	return c.arrayTargets(a)
}

// arrayTargets are the living instances of an array.
func (c *call) arrayTargets(a store.ServerArray) ([]target, error) {
	servers, err := c.fleet.DB.ServersOfArray(c.ctx(), a.ID)
	if err != nil {
		return nil, err
	}
	var list []target
	for _, server := range servers {
		inst, living, err := c.fleet.CurrentInstance(c.ctx(), server)
		if err != nil {
			return nil, err
		}
		if living {
			list = append(list, target{inst: inst, server: server})
		}
	}
	return list, nil
}

func (c *call) arrayResource(a store.ServerArray) (resource, error) {
	living, err := c.arrayTargets(a)
	href := fleet.ServerArrayHref(a.ID)
	links := []wire.Link{link("self", href), link("current_instances", href+"/current_instances")}
	if a.DeploymentID != 0 {
		links = append(links, link("deployment", fleet.DeploymentHref(a.DeploymentID)))
	}
	state := "disabled"
	if a.Enabled {
		state = "enabled"
	}
	count := strconv.Itoa(a.Size)
	return object(resource{"name": a.Name, "description": a.Description, "array_type": "alert", "state": state, "instances_count": len(living),
		"elasticity_params": map[string]any{"bounds": map[string]string{"min_count": count, "max_count": count}}}, links, "launch"), err
}

func (c *call) arrays() (reply, error) {
	in, err := c.inDeployment()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.ServerArrays(c.ctx(), c.who.AccountID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, 0, len(all))
	for _, a := range all {
		if in != 0 && a.DeploymentID != in {
			continue
		}
		r, err := c.arrayResource(a)
		if err != nil {
			return reply{}, err
		}
		list = append(list, r)
	}
	return c.index("server_array", list, "name", "deployment_href")
}

func (c *call) theArray() (a store.ServerArray, err error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return a, err
	}
	return c.fleet.DB.ServerArray(c.ctx(), c.who.AccountID, id)
}

func (c *call) array() (reply, error) {
	a, err := c.theArray()
	if err != nil {
		return reply{}, err
	}
	r, err := c.arrayResource(a)
	if err != nil {
		return reply{}, err
	}
	return shown("server_array", r)
}

// arrayPatch reads an array. Its size is fixed: min_count and max_count are one
// number, and only one of them needs to be sent.
func arrayPatch(p *params) fleet.ArrayPatch {
	patch := fleet.ArrayPatch{Name: p.opt("name"), Description: p.opt("description")}
	if d := p.href("deployment_href", "deployments"); d != 0 {
		patch.DeploymentID = &d
	}
	switch state := p.text("state"); state {
	case "":
	case "enabled", "disabled":
		enabled := state == "enabled"
		patch.Enabled = &enabled
	default:
		p.wrong("state", "enabled or disabled")
	}
	bounds := p.sub("elasticity_params").sub("bounds")
	for _, field := range []string{"min_count", "max_count"} {
		if !bounds.has(field) {
			continue
		}
		size := int(bounds.number(field))
		if patch.Size != nil && *patch.Size != size {
			bounds.wrong(field, "the same as min_count: arrays of this platform have a fixed size")
		}
		patch.Size = &size
	}
	return patch
}

func (c *call) createArray() (reply, error) {
	p := c.p.sub("server_array")
	p.need("name")
	patch := arrayPatch(p)
	spec, err := c.newServerSpec(p, "")
	if err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateArray(c.ctx(), c.by(), patch, spec)
	return created(fleet.ServerArrayHref(id), err)
}

func (c *call) updateArray() (reply, error) {
	patch, id := arrayPatch(c.p.sub("server_array")), c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateArray(c.ctx(), c.by(), id, patch))
}

func (c *call) deleteArray() (reply, error) {
	a, err := c.theArray()
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteArray(c.ctx(), c.by(), a.ID))
}

// launchArray makes the servers that are missing and launches all that do not
// live. The answer names the first instance.
func (c *call) launchArray() (reply, error) {
	c.p.inputs("inputs") // wrong ones are told before anything is made
	a, err := c.theArray()
	if err != nil {
		return reply{}, err
	}
	servers, err := c.fleet.GrowArray(c.ctx(), c.by(), a.ID)
	if err != nil {
		return reply{}, err
	}
	first := ""
	var problems []error
	for _, server := range servers {
		if _, living, err := c.fleet.CurrentInstance(c.ctx(), server); err != nil || living {
			problems = append(problems, err)
			continue
		}
		rep, err := c.launch(server)
		if err != nil {
			problems = append(problems, err)
		} else if first == "" {
			first = rep.location
		}
	}
	if err := errors.Join(problems...); err != nil {
		return reply{}, err
	}
	if first == "" {
		return reply{}, &fleet.InvalidError{Text: "all servers of the array run already"}
	}
	return created(first, nil)
}

func (c *call) arrayInstances() (reply, error) {
	view := c.instanceView()
	all, err := c.theTargets()
	if err != nil {
		return reply{}, err
	}
	return c.instanceIndex(all, view)
}

func (c *call) multiRunArray() (reply, error) {
	req, err := c.runRequest()
	if err != nil {
		return reply{}, err
	}
	all, err := c.theTargets()
	if err != nil {
		return reply{}, err
	}
	return c.runOnAll(all, req)
}

func (c *call) terminateArray() (reply, error) {
	all, err := c.theTargets()
	if err != nil {
		return reply{}, err
	}
	rep, err := c.terminateAll(all)
	rep.status = http.StatusAccepted
	return rep, err
}
