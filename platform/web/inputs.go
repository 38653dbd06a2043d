// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// inputError is a value of an input that cannot be read.
type inputError struct {
	name string
	err  error
}

func (e *inputError) Error() string { return fmt.Sprintf("Input %s: %v", e.name, e.err) }

func (e *inputError) Unwrap() error { return e.err }

// shownInput is an input with the value that counts and where it comes from.
type shownInput struct {
	rightscript.Input
	Value  rightscript.Value
	Source string
}

// Set tells whether any level gives a value.
func (i shownInput) Set() bool { return !i.Value.IsZero() }

// level is one place where inputs get values.
type level struct {
	name   string
	values map[string]rightscript.Value
}

// levels are the values of a server from the highest to the lowest, as fleet
// resolves them; instanceID is 0 for the next launch.
func (c *call) levels(server store.Server, instanceID int64) ([]level, error) {
	var list []level
	if instanceID != 0 {
		values, err := c.fleet.DB.InstanceInputs(c.ctx(), instanceID)
		if err != nil {
			return nil, err
		}
		list = append(list, level{"instance", values})
	}
	values, err := c.fleet.DB.ServerInputs(c.ctx(), server.ID)
	if err != nil {
		return nil, err
	}
	list = append(list, level{"server", values})
	if server.DeploymentID != 0 {
		d, err := c.fleet.DB.Deployment(c.ctx(), c.account(), server.DeploymentID)
		if err != nil {
			return nil, err
		}
		list = append(list, level{"deployment", d.Inputs})
	}
	t, err := c.fleet.DB.ServerTemplate(c.ctx(), server.TemplateID)
	return append(list, ofTemplate(t)), err
}

func ofTemplate(t store.ServerTemplate) level { return level{"ServerTemplate", t.Inputs} }

// shownInputs lists the inputs of scripts by name with the value of the highest
// level that gives one.
func shownInputs(scripts []store.BoundScript, levels ...level) []shownInput {
	var list []shownInput
	for _, in := range distinctInputs(scripts) {
		one := shownInput{Input: in, Value: in.Default, Source: "script"}
		for _, l := range levels {
			if v, ok := l.values[in.Name]; ok && v.Kind != rightscript.KindInherit {
				one.Value, one.Source = v, l.name
				break
			}
		}
		list = append(list, one)
	}
	return list
}

// distinctInputs lists the inputs of scripts by name, each once; one that any
// script requires is required.
func distinctInputs(scripts []store.BoundScript) []rightscript.Input {
	found := map[string]rightscript.Input{}
	for _, s := range scripts {
		for _, in := range s.Inputs {
			known, seen := found[in.Name]
			if !seen {
				found[in.Name] = in
				continue
			}
			known.Required = known.Required || in.Required
			if known.Default.IsZero() {
				known.Default = in.Default
			}
			found[in.Name] = known
		}
	}
	list := make([]rightscript.Input, 0, len(found))
	for _, in := range found {
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b rightscript.Input) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// inputField is an input as a form asks for it: a kind and a text.
type inputField struct {
	rightscript.Input
	Kind, Text string
	// Inherited is what counts when the form gives no value.
	Inherited string
}

// Missing tells whether somebody has to give a value.
func (f inputField) Missing() bool { return f.Required && f.Inherited == "" }

// inputKinds are the choices of a form, in the order of use.
var inputKinds = []struct{ Value, Name string }{
	{"inherit", "Inherit"}, {"text", "Text"}, {"cred", "Credential"}, {"env", "Variable"}, {"array", "Array"}, {"blank", "Blank"}, {"ignore", "Ignore"},
}

// inputFields prepares the inputs of a form. filled is what was sent before, if
// anything.
func inputFields(inputs []shownInput, filled url.Values) []inputField {
	fields := make([]inputField, 0, len(inputs))
	for _, in := range inputs {
		f := inputField{Input: in.Input, Kind: filled.Get("kind." + in.Name), Text: filled.Get("value." + in.Name)}
		if in.Set() {
			f.Inherited = in.Value.String()
		}
		if f.Kind == "" {
			f.Kind = "inherit"
			if f.Missing() {
				f.Kind = "text"
			}
		}
		fields = append(fields, f)
	}
	return fields
}

// readInputs reads the values of a form; those that inherit are left out.
func readInputs(form url.Values) (map[string]rightscript.Value, error) {
	values := map[string]rightscript.Value{}
	for key := range form {
		name, ok := strings.CutPrefix(key, "kind.")
		if !ok {
			continue
		}
		kind, text := form.Get(key), form.Get("value."+name)
		switch kind {
		case "", "inherit":
			if strings.TrimSpace(text) == "" {
				continue
			}
			kind = "text" // who types a value wants it
		case "blank", "ignore":
		}
		raw := kind + ":" + text
		if kind == "blank" || kind == "ignore" {
			raw = kind
		}
		v, err := rightscript.ParseValue(raw)
		if err != nil {
			return nil, &inputError{name, err}
		}
		values[name] = v
	}
	return values, nil
}

// texts writes values as the API and the launch service take them.
func texts(values map[string]rightscript.Value) map[string]string {
	list := make(map[string]string, len(values))
	for name, v := range values {
		list[name] = v.String()
	}
	return list
}

// credentialNames are the names that a form offers for credentials.
func (c *call) credentialNames() ([]string, error) {
	list, err := c.fleet.DB.Credentials(c.ctx(), c.account())
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = one.Name
	}
	return names, err
}
