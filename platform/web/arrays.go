// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

type arraysBody struct {
	list
	Rows []arrayRow
	// The form of a new one.
	Name, Size      string
	Template, Cloud int64
	ImageUID, Type  string
	Templates       []store.ServerTemplate
	Clouds          []store.Cloud
	Problem         string
}

type arrayRow struct {
	store.ServerArray
	Servers int
}

func (c *call) arrays() error { return c.arraysPage(http.StatusOK, arraysBody{Size: "2"}) }

func (c *call) arraysPage(status int, b arraysBody) error {
	b.list = c.list()
	all, err := c.fleet.DB.ServerArrays(c.ctx(), c.account())
	if err != nil {
		return err
	}
	for _, a := range cut(&b.list, all, func(a store.ServerArray) string { return a.Name }) {
		servers, err := c.fleet.DB.ServersOfArray(c.ctx(), a.ID)
		if err != nil {
			return err
		}
		b.Rows = append(b.Rows, arrayRow{a, len(servers)})
	}
	templates, err := c.fleet.DB.ServerTemplates(c.ctx(), c.account())
	if err != nil {
		return err
	}
	for _, t := range templates {
		if t.Revision == 0 {
			b.Templates = append(b.Templates, t)
		}
	}
	if b.Clouds, err = c.fleet.DB.Clouds(c.ctx(), c.account()); err != nil {
		return err
	}
	return c.show(status, "arrays", "Server arrays", b)
}

func (c *call) createArray() error {
	form := c.r.PostForm
	b := arraysBody{Name: strings.TrimSpace(form.Get("name")), Size: strings.TrimSpace(form.Get("size")), Template: number(form.Get("template")), Cloud: number(form.Get("cloud")),
		ImageUID: strings.TrimSpace(form.Get("image")), Type: strings.TrimSpace(form.Get("type"))}
	id, err := c.newArray(b)
	if b.Problem = problem(err); b.Problem != "" {
		return c.arraysPage(http.StatusUnprocessableEntity, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/arrays/%d?done=saved", id))
}

func (c *call) newArray(b arraysBody) (int64, error) {
	size, err := arraySize(b.Size)
	if err != nil {
		return 0, err
	}
	if b.Template == 0 {
		return 0, &fleet.InvalidError{Text: "Choose a ServerTemplate."}
	}
	return c.fleet.CreateArray(c.ctx(), c.by(), fleet.ArrayPatch{Name: &b.Name, Size: &size},
		fleet.ServerSpec{TemplateID: b.Template, AnyInput: true, Launch: store.Launch{CloudID: b.Cloud, ImageUID: b.ImageUID, InstanceType: b.Type}})
}

func arraySize(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &fleet.InvalidError{Text: fmt.Sprintf("How many servers? %q is no number.", clip(text, 40))}
	}
	return n, nil
}

// arrayBody is the page of an array.
type arrayBody struct {
	store.ServerArray
	Servers []store.Server
	Problem string
}

func (c *call) arrayOf() (b arrayBody, err error) {
	id, err := c.id()
	if err != nil {
		return b, err
	}
	if b.ServerArray, err = c.fleet.DB.ServerArray(c.ctx(), c.account(), id); err != nil {
		return b, err
	}
	b.Servers, err = c.fleet.DB.ServersOfArray(c.ctx(), id)
	return b, err
}

func (c *call) array() error {
	b, err := c.arrayOf()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "array", b.Name, b)
}

func (c *call) setArray() error {
	b, err := c.arrayOf()
	if err != nil {
		return err
	}
	form, title := c.r.PostForm, b.Name
	b.Name, b.Description = strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("description"))
	size, err := arraySize(strings.TrimSpace(form.Get("size")))
	if err == nil {
		err = c.fleet.UpdateArray(c.ctx(), c.by(), b.ID, fleet.ArrayPatch{Name: &b.Name, Description: &b.Description, Size: &size})
	}
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "array", title, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/arrays/%d?done=saved", b.ID))
}

// arrayActions are what can be done to all servers of an array.
var arrayActions = map[string]action{
	"launch":    {Label: "Launch", Question: "Launch the servers of %s?", Text: "Servers that it lacks are made, and all that do not run are launched."},
	"terminate": {Label: "Terminate", Question: "Terminate the instances of %s?", Grave: true, Text: "The decommission scripts run first. Then the machines and what is on their own disks are gone."},
	"delete":    {Label: "Delete", Question: "Delete the array %s?", Grave: true, Text: "Its servers are deleted too; none of them may run."},
}

func (c *call) arrayAction() (b arrayBody, a action, err error) {
	if b, err = c.arrayOf(); err != nil {
		return b, a, err
	}
	a, ok := arrayActions[c.r.PathValue("action")]
	if !ok {
		return b, a, errNoPage
	}
	a.Name = c.r.PathValue("action")
	return b, a, nil
}

func (b arrayBody) confirm(a action, text string) confirmBody {
	at := fmt.Sprintf("%s/arrays/%d", Base, b.ID)
	return confirmBody{Question: fmt.Sprintf(a.Question, b.Name), Text: a.Text, Label: a.Label, Post: at + "/" + a.Name, Back: at, Problem: text, Grave: a.Grave}
}

func (c *call) confirmArray() error {
	b, a, err := c.arrayAction()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "confirm", a.Label, b.confirm(a, ""))
}

func (c *call) actArray() error {
	b, a, err := c.arrayAction()
	if err != nil {
		return err
	}
	switch a.Name {
	case "launch":
		err = c.launchArray(b)
	case "terminate":
		err = c.terminateArray(b)
	default:
		err = c.fleet.DeleteArray(c.ctx(), c.by(), b.ID)
	}
	if text := problem(err); text != "" {
		return c.show(http.StatusUnprocessableEntity, "confirm", a.Label, b.confirm(a, text))
	}
	switch {
	case err != nil:
		return err
	case a.Name == "delete":
		return c.to("/arrays?done=deleted")
	default:
		return c.to(fmt.Sprintf("/arrays/%d?done=%s", b.ID, map[string]string{"launch": "launched", "terminate": "terminate"}[a.Name]))
	}
}

func (c *call) launchArray(b arrayBody) error {
	servers, err := c.fleet.GrowArray(c.ctx(), c.by(), b.ID)
	if err != nil {
		return err
	}
	var problems []error
	for _, server := range servers {
		_, living, err := c.fleet.CurrentInstance(c.ctx(), server)
		if err != nil || living {
			problems = append(problems, err)
			continue
		}
		ok, err := c.launches(server)
		if err == nil && !ok {
			err = errNoCloud
		}
		if err == nil {
			_, err = c.opt.Machines.Launch(c.ctx(), server.ID, nil, c.who.Email)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (c *call) terminateArray(b arrayBody) error {
	var problems []error
	for _, server := range b.Servers {
		inst, living, err := c.fleet.CurrentInstance(c.ctx(), server)
		if err == nil && living {
			err = c.terminate(server, &inst)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
