// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// runRequest reads what run_executable is to run.
func (c *call) runRequest() (fleet.RunRequest, error) {
	req := fleet.RunRequest{ScriptID: c.p.href("right_script_href", "right_scripts"), Inputs: map[string]rightscript.Value{}, AnyInput: true}
	if c.p.text("recipe_name") != "" {
		return req, &fleet.InvalidError{Text: "this platform runs RightScripts, not recipes"}
	}
	if c.p.has("inputs") {
		req.Inputs = c.p.inputs("inputs")
	}
	if req.ScriptID == 0 {
		c.p.need("right_script_href")
	}
	return req, c.p.problem()
}

func taskHref(inst store.Instance, auditID int64) string {
	return fmt.Sprintf("%s/live/tasks/ae-%d", fleet.InstanceHref(inst), auditID)
}

// runOn queues a script for an instance and returns the href of its task.
func (c *call) runOn(t target, req fleet.RunRequest) (string, error) {
	locked, err := c.fleet.DB.InstanceLocked(c.ctx(), t.inst.ID)
	if err == nil && locked && !c.p.flag("ignore_lock") {
		err = &fleet.InvalidError{Text: "instance " + fleet.NameOf(t.inst) + " is locked; send ignore_lock=true to run it all the same"}
	}
	if err == nil {
		err = c.p.problem()
	}
	if err != nil {
		return "", err
	}
	id, err := c.fleet.RunOn(c.ctx(), c.by(), t.inst.ID, req)
	if err == nil {
		c.hub.Wake(t.inst.ID)
	}
	return taskHref(t.inst, id), err
}

func (c *call) runExecutable() (reply, error) {
	req, err := c.runRequest()
	if err != nil {
		return reply{}, err
	}
	t, err := c.running()
	if err != nil {
		return reply{}, err
	}
	return accepted(c.runOn(t, req))
}

// selected are the living instances that the filters choose.
func (c *call) selected(all []target) ([]target, error) {
	filters := c.filters(instanceFilters...)
	if err := c.p.problem(); err != nil {
		return nil, err
	}
	var list []target
	for _, t := range all {
		r, err := c.instanceResource(t.inst, t.server, "default")
		if err != nil {
			return nil, err
		}
		r["public_ip_address"], r["private_ip_address"] = t.inst.PublicIPs, t.inst.PrivateIPs
		keep := true
		for _, f := range filters {
			keep = keep && f.matches(r)
		}
		if keep {
			list = append(list, t)
		}
	}
	return list, nil
}

func (c *call) multiRun() (reply, error) {
	req, err := c.runRequest()
	if err != nil {
		return reply{}, err
	}
	all, err := c.livingInstances()
	if err != nil {
		return reply{}, err
	}
	return c.runOnAll(all, req)
}

// runOnAll queues a script for all selected instances that have an agent. The
// task is the first one's: each has an audit entry of its own.
func (c *call) runOnAll(all []target, req fleet.RunRequest) (reply, error) {
	all, err := c.selected(all)
	if err != nil {
		return reply{}, err
	}
	first := ""
	var problems []error
	for _, t := range all {
		href, err := c.runOn(t, req)
		if err != nil {
			problems = append(problems, err)
		} else if first == "" {
			first = href
		}
	}
	if first == "" {
		if err := errors.Join(problems...); err != nil {
			return reply{}, err
		}
		return reply{}, &fleet.InvalidError{Text: "no running instance matches the filter"}
	}
	return accepted(first, nil)
}

func (c *call) multiTerminate() (reply, error) {
	all, err := c.livingInstances()
	if err != nil {
		return reply{}, err
	}
	return c.terminateAll(all)
}

func (c *call) terminateAll(all []target) (reply, error) {
	if !c.p.flag("terminate_all") && len(c.p.texts("filter")) == 0 {
		return reply{}, &parameterError{"send a filter, or terminate_all=true"}
	}
	all, err := c.selected(all)
	if err != nil {
		return reply{}, err
	}
	for _, t := range all {
		if err := c.machine(t, "terminate"); err != nil {
			return reply{}, err
		}
	}
	return reply{status: 202}, nil
}
