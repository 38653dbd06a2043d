// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// lineage names the chain of revisions that an object belongs to.
func (c *call) lineage(kind string, id, lineageID int64) string {
	if lineageID != 0 {
		id = lineageID
	}
	return fmt.Sprintf("https://%s/api/acct/%d/%s/%d", c.host(c.r), c.who.AccountID, kind, id)
}

func (c *call) templateResource(t store.ServerTemplate, view string) (resource, error) {
	href := fleet.ServerTemplateHref(t.ID)
	links := []wire.Link{link("self", href), link("multi_cloud_images", href+"/multi_cloud_images")}
	images, err := c.fleet.DB.TemplateImages(c.ctx(), c.who.AccountID, t.ID)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		if i.Default {
			links = append(links, link("default_multi_cloud_image", fleet.MultiCloudImageHref(i.MCIID)))
		}
	}
	for _, rel := range []string{"inputs", "alert_specs", "runnable_bindings", "cookbook_attachments"} {
		links = append(links, link(rel, href+"/"+rel))
	}
	actions := []string{"clone"}
	if t.Revision == 0 {
		actions = []string{"commit", "clone", "resolve", "detect_changes_in_head"}
	}
	r := object(resource{"id": itoa64(t.ID), "name": t.Name, "description": t.Description, "revision": t.Revision,
		"lineage": c.lineage("ec2_server_templates", t.ID, t.LineageID)}, links, actions...)
	if view == "default" {
		return r, nil
	}
	values, err := c.fleet.TemplateInputs(c.ctx(), t)
	r["inputs"] = inputList(values, view)
	return r, err
}

func (c *call) templates() (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	all, err := c.fleet.DB.ServerTemplates(c.ctx(), c.who.AccountID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, 0, len(all))
	for _, t := range all {
		r, err := c.templateResource(t, view)
		if err != nil {
			return reply{}, err
		}
		list = append(list, r)
	}
	return c.index("server_template", list, "name", "description", "revision", "lineage")
}

// theTemplate finds the ServerTemplate of the path.
func (c *call) theTemplate() (t store.ServerTemplate, err error) {
	id := c.id("st")
	if err := c.p.problem(); err != nil {
		return t, err
	}
	return c.fleet.Template(c.ctx(), c.who.AccountID, id)
}

func (c *call) template() (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	r, err := c.templateResource(t, view)
	if err != nil {
		return reply{}, err
	}
	return shown("server_template", r)
}

func templatePatch(p *params) fleet.TemplatePatch {
	return fleet.TemplatePatch{Name: p.opt("name"), Description: p.opt("description")}
}

func (c *call) createTemplate() (reply, error) {
	p := c.p.sub("server_template")
	p.need("name")
	patch := templatePatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateTemplate(c.ctx(), c.by(), patch)
	return created(fleet.ServerTemplateHref(id), err)
}

func (c *call) updateTemplate() (reply, error) {
	patch, id := templatePatch(c.p.sub("server_template")), c.id("st")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateTemplate(c.ctx(), c.by(), id, patch))
}

func (c *call) deleteTemplate() (reply, error) {
	id := c.id("st")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteTemplate(c.ctx(), c.by(), id))
}

func (c *call) commitTemplate() (reply, error) {
	id := c.id("st")
	commit := fleet.Commit{Message: c.p.need("commit_message"), Heads: c.p.flag("commit_head_dependencies")}
	c.p.flag("freeze_repositories") // there are no repositories to freeze
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	revision, err := c.fleet.CommitTemplate(c.ctx(), c.by(), id, commit)
	return created(fleet.ServerTemplateHref(revision), err)
}

func (c *call) cloneTemplate() (reply, error) {
	p, from := c.p.sub("server_template"), c.id("st")
	p.need("name")
	patch := templatePatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CloneTemplate(c.ctx(), c.by(), from, patch)
	return created(fleet.ServerTemplateHref(id), err)
}

// unpublished refuses what needs a marketplace.
func (c *call) unpublished() (reply, error) {
	if _, err := c.theTemplate(); err != nil {
		return reply{}, err
	}
	return reply{}, &fleet.InvalidError{Text: "this platform has no marketplace to publish in; commit the ServerTemplate, or download it with right_st"}
}

// changesInHead lists the HEAD scripts of a ServerTemplate that differ from
// their last revision.
func (c *call) changesInHead() (reply, error) {
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	changed, err := c.fleet.ChangedScripts(c.ctx(), t)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(changed))
	for i, s := range changed {
		list[i] = c.scriptResource(s)
	}
	return reply{status: 200, media: "right_script", collection: true, body: list}, nil
}

func (c *call) templateInputs() (reply, error) {
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	return c.inputIndex(c.fleet.TemplateInputs(c.ctx(), t))
}

func (c *call) setTemplateInputs() (reply, error) {
	id := c.id("st")
	values, err := c.needInputs()
	if err != nil {
		return reply{}, err
	}
	return done(c.fleet.SetTemplateInputs(c.ctx(), c.by(), id, values))
}

// Runnable bindings.

func (c *call) bindingResource(b store.PlacedBinding) resource {
	st := fleet.ServerTemplateHref(b.TemplateID)
	return object(resource{"id": itoa64(b.ID), "sequence": strings.ToLower(b.Sequence), "position": b.Position,
		"right_script": resource{"id": itoa64(b.ScriptID), "name": b.Script.Name, "revision": b.Script.Revision,
			"lineage": c.lineage("right_scripts", b.ScriptID, b.Script.LineageID)}},
		[]wire.Link{link("self", fmt.Sprintf("%s/runnable_bindings/%d", st, b.ID)), link("server_template", st), link("right_script", fleet.RightScriptHref(b.ScriptID))})
}

func (c *call) bindings() (reply, error) {
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.Bindings(c.ctx(), t.ID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, b := range all {
		list[i] = c.bindingResource(b)
	}
	return c.index("runnable_binding", list)
}

func (c *call) binding() (reply, error) {
	id := c.id("id")
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	b, err := c.fleet.DB.PlacedBinding(c.ctx(), t.ID, id)
	if err != nil {
		return reply{}, err
	}
	return shown("runnable_binding", c.bindingResource(b))
}

func (c *call) createBinding() (reply, error) {
	st, p := c.id("st"), c.p.sub("runnable_binding")
	b := store.Binding{ScriptID: p.href("right_script_href", "right_scripts"), Position: int(p.number("position")), Sequence: string(servertemplate.Operational)}
	if b.ScriptID == 0 {
		p.need("right_script_href")
	}
	if text := p.text("sequence"); text != "" {
		seq, err := fleet.ParseSequence(text)
		if err != nil {
			return reply{}, err
		}
		b.Sequence = string(seq)
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.AddBinding(c.ctx(), c.by(), st, b)
	return created(fmt.Sprintf("%s/runnable_bindings/%d", fleet.ServerTemplateHref(st), id), err)
}

func (c *call) moveBindings() (reply, error) {
	st := c.id("st")
	var moves []fleet.BindingMove
	for _, p := range c.p.objects("runnable_bindings") {
		p.need("id")
		m := fleet.BindingMove{ID: p.number("id"), Position: int(p.number("position")), ScriptID: p.href("right_script_href", "right_scripts")}
		if text := p.text("sequence"); text != "" {
			seq, err := fleet.ParseSequence(text)
			if err != nil {
				return reply{}, err
			}
			m.Sequence = seq
		}
		moves = append(moves, m)
	}
	if len(moves) == 0 {
		c.p.need("runnable_bindings")
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.MoveBindings(c.ctx(), c.by(), st, moves))
}

func (c *call) deleteBinding() (reply, error) {
	st, id := c.id("st"), c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.RemoveBinding(c.ctx(), c.by(), st, id))
}
