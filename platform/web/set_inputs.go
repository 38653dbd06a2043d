// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// setInputsBody is the form that changes the inputs of a server.
type setInputsBody struct {
	store.Server
	Problem  string
	Inputs   []inputField
	Creds    []string
	Instance *store.Instance // nil for none that lives
}

// Kinds are the choices of an input.
func (setInputsBody) Kinds() any { return inputKinds }

func (c *call) inputsForm() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	b, err := c.setInputsBody(server, nil)
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "inputs", "Inputs of "+server.Name, b)
}

// setInputsBody prepares the form: the server's own values, and behind each
// what it would inherit.
func (c *call) setInputsBody(server store.Server, form url.Values) (b setInputsBody, err error) {
	b.Server = server
	inst, ok, err := c.fleet.CurrentInstance(c.ctx(), server)
	if err != nil {
		return b, err
	}
	if ok {
		b.Instance = &inst
	}
	scripts, err := c.fleet.DB.BoundScripts(c.ctx(), server.TemplateID, "")
	if err != nil {
		return b, err
	}
	levels, err := c.levels(server, 0)
	if err != nil {
		return b, err
	}
	if form == nil {
		form = filledIn(levels[0].values)
	}
	b.Inputs = inputFields(shownInputs(scripts, levels[1:]...), form)
	b.Creds, err = c.credentialNames()
	return b, err
}

// filledIn are values as a form has them.
func filledIn(values map[string]rightscript.Value) url.Values {
	form := url.Values{}
	for name, v := range values {
		text := v.String()
		form.Set("kind."+name, string(v.Kind))
		if n := len(v.Kind) + 1; len(text) > n {
			form.Set("value."+name, text[n:])
		}
	}
	return form
}

func (c *call) setInputs() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	form := c.r.PostForm
	b, err := c.setInputsBody(server, form)
	if err != nil {
		return err
	}
	values, err := readInputs(form)
	if err == nil {
		for _, in := range b.Inputs { // what is not given any more is inherited again
			if _, given := values[in.Name]; !given && form.Has("kind."+in.Name) {
				values[in.Name] = rightscript.Value{Kind: rightscript.KindInherit}
			}
		}
		err = c.putInputs(b, values, form.Has("now"))
	}
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "inputs", "Inputs of "+server.Name, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/servers/%d?done=inputs", server.ID))
}

// putInputs writes them on the server, and with now on its instance too.
func (c *call) putInputs(b setInputsBody, values map[string]rightscript.Value, now bool) error {
	for _, in := range b.Inputs {
		if err := in.Check(values[in.Name]); err != nil && !values[in.Name].IsZero() && values[in.Name].Kind != rightscript.KindInherit {
			return &fleet.InvalidError{Text: fmt.Sprintf("Input %s: %v", in.Name, err)}
		}
	}
	if err := c.fleet.SetServerInputs(c.ctx(), c.by(), b.ID, 0, values); err != nil || !now || b.Instance == nil {
		return err
	}
	return c.fleet.SetServerInputs(c.ctx(), c.by(), b.ID, b.Instance.ID, values)
}
