// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// ParseSequence reads the name of a sequence in any case.
func ParseSequence(text string) (servertemplate.Sequence, error) {
	for _, seq := range servertemplate.Sequences() {
		if strings.EqualFold(text, string(seq)) {
			return seq, nil
		}
	}
	return "", invalid("sequence %q: want boot, operational or decommission", clip(text, 40))
}

// maxBindings bounds the scripts of one ServerTemplate.
const maxBindings = 500

// AddBinding puts a script into a sequence of a ServerTemplate: at a position
// that is free, or behind the last one with position 0.
func (s *Service) AddBinding(ctx context.Context, by By, templateID int64, b store.Binding) (id int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, templateID)
		if err != nil {
			return err
		}
		script, err := q.Script(ctx, by.Account, b.ScriptID)
		if err != nil {
			return err
		}
		have, err := q.Bindings(ctx, templateID)
		if err != nil {
			return err
		}
		if len(have) >= maxBindings {
			return invalid("ServerTemplate %q has %d scripts; more are not allowed", t.Name, len(have))
		}
		place := b
		if place.Position, err = freePosition(have, b); err != nil {
			return err
		}
		if id, err = q.CreateBinding(ctx, templateID, place); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(templateID), fmt.Sprintf("RightScript %s put into %s of ServerTemplate %s", script.Name, b.Sequence, t.Name))
	})
	return id, err
}

func freePosition(have []store.PlacedBinding, b store.Binding) (int, error) {
	if b.Position < 0 || b.Position > 10*maxBindings {
		return 0, invalid("position %d: want 1 to %d", b.Position, 10*maxBindings)
	}
	last := 0
	for _, other := range have {
		if other.Sequence != b.Sequence {
			continue
		}
		if other.Position == b.Position {
			return 0, invalid("position %d of %s is taken by RightScript %q; leave the position out for the end", b.Position, b.Sequence, other.Script.Name)
		}
		last = max(last, other.Position)
	}
	if b.Position == 0 {
		return last + 1, nil
	}
	return b.Position, nil
}

// BindingMove says where a binding shall be; empty fields stay.
type BindingMove struct {
	ID       int64
	Sequence servertemplate.Sequence
	Position int
	ScriptID int64 // another revision of the script
}

// MoveBindings changes the places of several bindings at once.
func (s *Service) MoveBindings(ctx context.Context, by By, templateID int64, moves []BindingMove) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, templateID)
		if err != nil {
			return err
		}
		have, err := q.Bindings(ctx, templateID)
		if err != nil {
			return err
		}
		if err := moved(ctx, q, by.Account, have, moves); err != nil {
			return err
		}
		// Positions are unique, so all of them step aside first.
		for i, b := range have {
			parked := b.Binding
			parked.Position = -1 - i
			if err := q.PlaceBinding(ctx, b.ID, parked); err != nil {
				return err
			}
		}
		for _, b := range have {
			if err := q.PlaceBinding(ctx, b.ID, b.Binding); err != nil {
				return err
			}
		}
		return s.changed(ctx, q, by, ServerTemplateHref(templateID), "scripts of ServerTemplate "+t.Name+" put in order")
	})
}

// moved applies the moves to the list and looks for two at one place.
func moved(ctx context.Context, q *store.Queries, account int64, have []store.PlacedBinding, moves []BindingMove) error {
	for _, m := range moves {
		i := slices.IndexFunc(have, func(b store.PlacedBinding) bool { return b.ID == m.ID })
		if i < 0 {
			return fmt.Errorf("RunnableBinding %d: %w", m.ID, store.ErrNotFound)
		}
		if m.Sequence != "" {
			have[i].Sequence = string(m.Sequence)
		}
		if m.Position < 0 || m.Position > 10*maxBindings {
			return invalid("position %d: want 1 to %d", m.Position, 10*maxBindings)
		}
		if m.Position > 0 {
			have[i].Position = m.Position
		}
		if m.ScriptID != 0 {
			if _, err := q.Script(ctx, account, m.ScriptID); err != nil {
				return err
			}
			have[i].ScriptID = m.ScriptID
		}
	}
	for i, b := range have {
		for _, other := range have[:i] {
			if b.Sequence == other.Sequence && b.Position == other.Position {
				return invalid("bindings %d and %d would both be at position %d of %s", other.ID, b.ID, b.Position, b.Sequence)
			}
		}
	}
	return nil
}

// RemoveBinding takes a script out of a ServerTemplate.
func (s *Service) RemoveBinding(ctx context.Context, by By, templateID, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, templateID)
		if err != nil {
			return err
		}
		b, err := q.PlacedBinding(ctx, templateID, id)
		if err != nil {
			return err
		}
		if err := q.DeleteBinding(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(templateID), fmt.Sprintf("RightScript %s taken out of %s of ServerTemplate %s", b.Script.Name, b.Sequence, t.Name))
	})
}

// maxAlerts bounds the alerts of one ServerTemplate.
const maxAlerts = 500

// PutAlert creates an alert of a ServerTemplate, or changes the one of its id.
func (s *Service) PutAlert(ctx context.Context, by By, a store.AlertSpec) (id int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, a.TemplateID)
		if err != nil {
			return err
		}
		have, err := q.AlertSpecs(ctx, a.TemplateID)
		if err != nil {
			return err
		}
		put, err := mergedAlert(have, a)
		if err != nil {
			return err
		}
		if id, err = q.PutAlertSpec(ctx, put, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(a.TemplateID), "alert "+put.Name+" of ServerTemplate "+t.Name+" stored")
	})
	return id, err
}

func mergedAlert(have []store.AlertSpec, a store.AlertSpec) (store.AlertSpec, error) {
	put := a
	if a.ID != 0 {
		i := slices.IndexFunc(have, func(b store.AlertSpec) bool { return b.ID == a.ID })
		if i < 0 {
			return put, fmt.Errorf("AlertSpec %d: %w", a.ID, store.ErrNotFound)
		}
		if put.Name == "" {
			put.Name = have[i].Name
		}
		put.Detail = map[string]string{}
		for name, text := range have[i].Detail {
			put.Detail[name] = text
		}
		for name, text := range a.Detail {
			put.Detail[name] = text
		}
	} else if len(have) >= maxAlerts {
		return put, invalid("%d alerts are enough for a ServerTemplate", maxAlerts)
	}
	if slices.ContainsFunc(have, func(b store.AlertSpec) bool { return b.ID != a.ID && strings.EqualFold(b.Name, put.Name) }) {
		return put, invalid("alert %q exists already; choose another name", clip(put.Name, 80))
	}
	return put, checkName("alert", put.Name)
}

// RemoveAlert removes an alert of a ServerTemplate.
func (s *Service) RemoveAlert(ctx context.Context, by By, templateID, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, templateID)
		if err != nil {
			return err
		}
		have, err := q.AlertSpecs(ctx, templateID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(have, func(a store.AlertSpec) bool { return a.ID == id })
		if i < 0 {
			return fmt.Errorf("AlertSpec %d: %w", id, store.ErrNotFound)
		}
		if err := q.DeleteAlertSpec(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(templateID), "alert "+have[i].Name+" of ServerTemplate "+t.Name+" deleted")
	})
}
