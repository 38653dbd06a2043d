// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

type templatesBody struct {
	list
	Rows []store.ServerTemplate
}

func (c *call) templates() error {
	b := templatesBody{list: c.list()}
	all, err := c.fleet.DB.ServerTemplates(c.ctx(), c.account())
	if err != nil {
		return err
	}
	b.Rows = cut(&b.list, all, func(t store.ServerTemplate) string { return t.Name })
	return c.show(http.StatusOK, "templates", "ServerTemplates", b)
}

// templateBody is the page of a ServerTemplate: its scripts in the order in
// which a server meets them.
type templateBody struct {
	store.ServerTemplate
	Sequences []sequence
	Inputs    []shownInput
	Images    []templateImage
	// Choices are the scripts that can be put into a sequence; none where nobody
	// may.
	Choices []store.RightScript
}

type sequence struct {
	Name, Text string
	Scripts    []store.PlacedBinding
}

var sequenceTexts = map[servertemplate.Sequence]string{
	servertemplate.Boot:         "run in this order when an instance starts",
	servertemplate.Operational:  "run on request",
	servertemplate.Decommission: "run in this order before an instance goes away",
}

// templateOf finds a ServerTemplate of the person's account.
func (c *call) templateOf(id int64) (store.ServerTemplate, error) {
	t, err := c.fleet.DB.ServerTemplate(c.ctx(), id)
	if err == nil && t.AccountID != c.account() {
		err = fmt.Errorf("ServerTemplate %d: %w", id, store.ErrNotFound)
	}
	return t, err
}

func (c *call) template() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	var b templateBody
	if b.ServerTemplate, err = c.templateOf(id); err != nil {
		return err
	}
	bindings, err := c.fleet.DB.Bindings(c.ctx(), id)
	if err != nil {
		return err
	}
	for _, name := range servertemplate.Sequences() {
		one := sequence{Name: string(name), Text: sequenceTexts[name]}
		for _, binding := range bindings {
			if binding.Sequence == one.Name {
				one.Scripts = append(one.Scripts, binding)
			}
		}
		b.Sequences = append(b.Sequences, one)
	}
	if c.may(access.Designer) && b.Revision == 0 {
		if b.Choices, err = c.fleet.DB.RightScripts(c.ctx(), c.account()); err != nil {
			return err
		}
	}
	all, err := c.fleet.DB.BoundScripts(c.ctx(), id, "")
	if err != nil {
		return err
	}
	b.Inputs = shownInputs(all, ofTemplate(b.ServerTemplate))
	if b.Images, err = c.templateImages(id); err != nil {
		return err
	}
	return c.show(http.StatusOK, "template", b.Name, b)
}

func (c *call) script() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	script, err := c.fleet.DB.Script(c.ctx(), c.account(), id)
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "script", script.Name, script)
}
