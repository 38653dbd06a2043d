// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// changeBindings puts a script into the HEAD of a ServerTemplate, takes one out,
// or moves it by one place.
func (c *call) changeBindings() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	t, err := c.templateOf(id)
	if err != nil {
		return err
	}
	form := c.r.PostForm
	binding := number(form.Get("binding"))
	switch form.Get("do") {
	case "add":
		err = c.addBinding(t, number(form.Get("script")), form.Get("sequence"))
	case "remove":
		err = c.fleet.RemoveBinding(c.ctx(), c.by(), t.ID, binding)
	case "up":
		err = c.moveBinding(t, binding, -1)
	case "down":
		err = c.moveBinding(t, binding, 1)
	default:
		err = &fleet.InvalidError{Text: "What shall be done with the script?"}
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/templates/%d?done=scripts", t.ID))
}

func (c *call) addBinding(t store.ServerTemplate, script int64, sequence string) error {
	seq, err := fleet.ParseSequence(sequence)
	if err != nil {
		return err
	}
	if script == 0 {
		return &fleet.InvalidError{Text: "Choose a script."}
	}
	_, err = c.fleet.AddBinding(c.ctx(), c.by(), t.ID, store.Binding{ScriptID: script, Sequence: string(seq)})
	return err
}

// moveBinding changes places with the neighbour; at the end of the sequence
// nothing happens.
func (c *call) moveBinding(t store.ServerTemplate, id int64, by int) error {
	all, err := c.fleet.DB.Bindings(c.ctx(), t.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(b store.PlacedBinding) bool { return b.ID == id })
	if i < 0 {
		return fmt.Errorf("script of ServerTemplate %q: %w", t.Name, store.ErrNotFound)
	}
	other := i + by
	if other < 0 || other >= len(all) || all[other].Sequence != all[i].Sequence {
		return nil
	}
	return c.fleet.MoveBindings(c.ctx(), c.by(), t.ID, []fleet.BindingMove{{ID: all[i].ID, Position: all[other].Position}, {ID: all[other].ID, Position: all[i].Position}})
}
