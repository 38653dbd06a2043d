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
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
)

// launchBody is the form that launches a server's next instance. Its inputs are
// for that instance only.
type launchBody struct {
	store.Server
	Problem  string
	Cloud    store.Cloud
	Inputs   []inputField
	Creds    []string
	Launches bool
}

// Kinds are the choices of an input.
func (launchBody) Kinds() any { return inputKinds }

func (c *call) launchForm() error {
	b, err := c.launchBody(nil)
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "launch", "Launch "+b.Name, b)
}

func (c *call) launchBody(form url.Values) (b launchBody, err error) {
	if b.Server, err = c.ownServer(); err != nil {
		return b, err
	}
	if b.Cloud, err = c.fleet.DB.Cloud(c.ctx(), b.CloudID); err != nil {
		return b, err
	}
	if b.Launches, err = c.launches(b.Server); err != nil {
		return b, err
	}
	levels, err := c.levels(b.Server, 0)
	if err != nil {
		return b, err
	}
	scripts, err := c.fleet.DB.BoundScripts(c.ctx(), b.TemplateID, "")
	if err != nil {
		return b, err
	}
	b.Inputs = inputFields(shownInputs(scripts, levels...), form)
	b.Creds, err = c.credentialNames()
	return b, err
}

func (c *call) launch() error {
	b, err := c.launchBody(c.r.PostForm)
	if err != nil {
		return err
	}
	values, err := readInputs(c.r.PostForm)
	if err == nil && !b.Launches {
		err = errNoCloud
	}
	if err == nil {
		err = c.doLaunch(b.Server, values)
	}
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "launch", "Launch "+b.Name, b)
	}
	return err
}

// doLaunch launches and shows the server.
func (c *call) doLaunch(server store.Server, values map[string]rightscript.Value) error {
	if _, err := c.opt.Machines.Launch(c.ctx(), server.ID, texts(values), c.who.Email); err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/servers/%d?done=launched", server.ID))
}

// userDataBody is the page that hands out user-data. It is asked for with a
// form, since the document holds a token: no link, no history, no prefetch may
// bring it about.
type userDataBody struct {
	store.Server
	Problem  string
	Form     userdata.Form
	Document string
}

// Forms are the choices of the form.
func (userDataBody) Forms() []userdata.Form {
	return []userdata.Form{userdata.FormQuery, userdata.FormMime, userdata.FormMimeCloudConfig}
}

func (c *call) userDataForm() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "userdata", "User-data of "+server.Name, userDataBody{Server: server, Form: userdata.FormQuery})
}

func (c *call) userData() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	b := userDataBody{Server: server}
	if b.Form, err = userdata.ParseForm(c.r.PostForm.Get("form")); err != nil {
		err = &fleet.InvalidError{Text: err.Error()}
	} else {
		b.Document, err = c.fleet.UserData(c.ctx(), c.by(), server.Name, b.Form, "")
	}
	status := http.StatusOK
	if b.Problem = problem(err); b.Problem != "" {
		status = http.StatusUnprocessableEntity
	} else if err != nil {
		return err
	}
	return c.show(status, "userdata", "User-data of "+server.Name, b)
}
