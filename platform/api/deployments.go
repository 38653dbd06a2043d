// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// inputList writes inputs for a view: the 2.0 forms in views that end with
// inputs_2_0, else the old ones.
func inputList(values []fleet.InputValue, view string) []map[string]string {
	list := make([]map[string]string, len(values))
	for i, v := range values {
		text := v.Value.String()
		if view != "inputs_2_0" && view != "full_inputs_2_0" {
			text = oldForm(v.Value)
		}
		list[i] = map[string]string{"name": v.Name, "value": text}
	}
	return list
}

// oldForm is the 1.0 serialisation.
func oldForm(v rightscript.Value) string {
	switch v.Kind {
	case rightscript.KindInherit:
		return ""
	case rightscript.KindBlank:
		return "text:"
	case rightscript.KindIgnore:
		return "ignore:$ignore"
	default:
		return v.String()
	}
}

// inputs reads values: {"A":"text:x"}, or a list of {"name":"A","value":"text:x"}.
func (p *params) inputs(field string) map[string]rightscript.Value {
	values := map[string]rightscript.Value{}
	put := func(name, text string) {
		switch text {
		case "":
			text = "inherit"
		case "ignore:$ignore":
			text = "ignore"
		}
		v, err := rightscript.ParseValue(text)
		if err == nil {
			err = rightscript.CheckInputName(name)
		}
		if err != nil && *p.first == nil {
			*p.first = &parameterError{"parameter " + p.name(field) + "[" + clip(name) + "]: " + err.Error()}
		}
		values[name] = v
	}
	if _, isList := p.fields[field].([]any); isList {
		for _, item := range p.objects(field) {
			put(item.need("name"), item.text("value"))
		}
		return values
	}
	object := p.sub(field)
	for name := range object.fields {
		put(name, object.text(name))
	}
	return values
}

// needInputs are those of a multi_update.
func (c *call) needInputs() (map[string]rightscript.Value, error) {
	if !c.p.has("inputs") {
		c.p.need("inputs")
	}
	values := c.p.inputs("inputs")
	return values, c.p.problem()
}

func (c *call) inputIndex(values []fleet.InputValue, err error) (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	if err != nil {
		return reply{}, err
	}
	return reply{status: 200, media: "input", collection: true, body: inputList(values, view)}, nil
}

// Deployments.

var deploymentFilters = []string{"name", "description", "server_tag_scope"}

func (c *call) deploymentResource(d store.Deployment, view string) (resource, error) {
	href := fleet.DeploymentHref(d.ID)
	lock := "lock"
	if d.Locked {
		lock = "unlock"
	}
	r := object(resource{"name": d.Name, "description": d.Description, "locked": d.Locked, "server_tag_scope": d.ServerTagScope},
		[]wire.Link{link("self", href), link("inputs", href+"/inputs"), link("servers", href+"/servers"), link("server_arrays", href+"/server_arrays"), link("alerts", href+"/alerts")},
		"clone", lock)
	if view == "default" {
		return r, nil
	}
	values, err := c.fleet.DeploymentInputs(c.ctx(), d)
	r["inputs"] = inputList(values, view)
	return r, err
}

func (c *call) deployments() (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	all, err := c.fleet.DB.Deployments(c.ctx(), c.who.AccountID)
	list := make([]resource, len(all))
	for i, d := range all {
		if list[i], err = c.deploymentResource(d, view); err != nil {
			return reply{}, err
		}
	}
	if err != nil {
		return reply{}, err
	}
	return c.index("deployment", list, deploymentFilters...)
}

// theDeployment finds the deployment of the path.
func (c *call) theDeployment() (d store.Deployment, err error) {
	id := c.id("deployment")
	if err := c.p.problem(); err != nil {
		return d, err
	}
	return c.fleet.DB.Deployment(c.ctx(), c.who.AccountID, id)
}

func (c *call) deployment() (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	d, err := c.theDeployment()
	if err != nil {
		return reply{}, err
	}
	r, err := c.deploymentResource(d, view)
	if err != nil {
		return reply{}, err
	}
	return shown("deployment", r)
}

func deploymentPatch(p *params) fleet.DeploymentPatch {
	return fleet.DeploymentPatch{Name: p.opt("name"), Description: p.opt("description"), ServerTagScope: p.opt("server_tag_scope")}
}

func (c *call) createDeployment() (reply, error) {
	p := c.p.sub("deployment")
	p.need("name")
	patch := deploymentPatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateDeployment(c.ctx(), c.by(), patch)
	return created(fleet.DeploymentHref(id), err)
}

func (c *call) updateDeployment() (reply, error) {
	patch, id := deploymentPatch(c.p.sub("deployment")), c.id("deployment")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateDeployment(c.ctx(), c.by(), id, patch))
}

func lockDeployment(locked bool) endpoint {
	return func(c *call) (reply, error) {
		id := c.id("deployment")
		if err := c.p.problem(); err != nil {
			return reply{}, err
		}
		d, err := c.theDeployment()
		if err != nil || d.Locked == locked {
			return done(err)
		}
		return done(c.fleet.UpdateDeployment(c.ctx(), c.by(), id, fleet.DeploymentPatch{Locked: &locked}))
	}
}

func (c *call) cloneDeployment() (reply, error) {
	patch, from := deploymentPatch(c.p.sub("deployment")), c.id("deployment")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CloneDeployment(c.ctx(), c.by(), from, patch)
	return created(fleet.DeploymentHref(id), err)
}

func (c *call) deleteDeployment() (reply, error) {
	id := c.id("deployment")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteDeployment(c.ctx(), c.by(), id))
}

func (c *call) deploymentInputs() (reply, error) {
	d, err := c.theDeployment()
	if err != nil {
		return reply{}, err
	}
	return c.inputIndex(c.fleet.DeploymentInputs(c.ctx(), d))
}

func (c *call) setDeploymentInputs() (reply, error) {
	id := c.id("deployment")
	values, err := c.needInputs()
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.SetDeploymentInputs(c.ctx(), c.by(), id, values))
}
