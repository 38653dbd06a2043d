// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// alertFields are the texts of an alert besides its name.
var alertFields = []string{"description", "file", "variable", "condition", "threshold", "escalation_name", "vote_tag", "vote_type"}

func alertResource(a store.AlertSpec) resource {
	st := fleet.ServerTemplateHref(a.TemplateID)
	r := resource{"name": a.Name, "created_at": wire.FormatTime(a.CreatedAt), "updated_at": wire.FormatTime(a.UpdatedAt)}
	for _, field := range alertFields {
		r[field] = a.Detail[field]
	}
	duration, _ := strconv.Atoi(a.Detail["duration"])
	r["duration"] = duration
	return object(r, []wire.Link{link("self", fmt.Sprintf("%s/alert_specs/%d", st, a.ID)), link("subject", st)})
}

func (c *call) alerts() (reply, error) {
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.AlertSpecs(c.ctx(), t.ID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, a := range all {
		list[i] = alertResource(a)
	}
	return c.index("alert_spec", list, "name", "description", "escalation_name")
}

func (c *call) alert() (reply, error) {
	id := c.id("id")
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.AlertSpecs(c.ctx(), t.ID)
	for _, a := range all {
		if err == nil && a.ID == id {
			return shown("alert_spec", alertResource(a))
		}
	}
	if err == nil {
		err = fmt.Errorf("AlertSpec %d: %w", id, store.ErrNotFound)
	}
	return reply{}, err
}

// alertParams reads what an alert says; what was not sent is not in it.
func (c *call) alertParams(id int64) (store.AlertSpec, error) {
	p := c.p.sub("alert_spec")
	a := store.AlertSpec{ID: id, TemplateID: c.id("st"), Name: p.text("name"), Detail: map[string]string{}}
	if id == 0 {
		p.need("name")
	}
	for _, field := range append([]string{"duration"}, alertFields...) {
		if text := p.opt(field); text != nil {
			if len(*text) > 4096 {
				p.wrong(field, "at most 4096 bytes")
			}
			a.Detail[field] = *text
		}
	}
	p.number("duration")
	return a, c.p.problem()
}

func (c *call) createAlert() (reply, error) {
	a, err := c.alertParams(0)
	if err != nil {
		return reply{}, err
	}
	id, err := c.fleet.PutAlert(c.ctx(), c.by(), a)
	return created(fmt.Sprintf("%s/alert_specs/%d", fleet.ServerTemplateHref(a.TemplateID), id), err)
}

func (c *call) updateAlert() (reply, error) {
	a, err := c.alertParams(c.id("id"))
	if err != nil {
		return reply{}, err
	}
	_, err = c.fleet.PutAlert(c.ctx(), c.by(), a)
	return done(err)
}

func (c *call) deleteAlert() (reply, error) {
	st, id := c.id("st"), c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.RemoveAlert(c.ctx(), c.by(), st, id))
}
