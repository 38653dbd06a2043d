// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// newServerBody is the form of a new server. What is asked for depends on the
// ServerTemplate and the cloud, so that the form may come back once or twice
// before it is complete.
type newServerBody struct {
	Problem           string
	Name, Description string
	Template, Cloud   int64
	Templates         []store.ServerTemplate
	Clouds            []store.Cloud
	Image             int64 // MultiCloudImage
	Images            []templateImage
	Enrolment         string
	// The cloud's own names; empty for what the image or the cloud decides.
	ImageUID, InstanceType, Subnet, Groups, Key string
	// Offers are what the cloud has, by kind of resource.
	Offers   map[string][]store.CloudResource
	Inputs   []inputField
	Creds    []string
	Launches bool // the cloud can be called
}

// Kinds are the choices of an input.
func (newServerBody) Kinds() any { return inputKinds }

func (c *call) newServer() error {
	form := c.r.URL.Query()
	b, err := c.newServerBody(form)
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "new", "New server", b)
}

// newServerBody reads what is filled in and prepares the rest of the form.
func (c *call) newServerBody(form url.Values) (b newServerBody, err error) {
	b = newServerBody{Name: strings.TrimSpace(form.Get("name")), Description: strings.TrimSpace(form.Get("description")), Template: number(form.Get("template")),
		Cloud: number(form.Get("cloud")), Image: number(form.Get("mci")), Enrolment: form.Get("enrolment"), ImageUID: strings.TrimSpace(form.Get("image")),
		InstanceType: strings.TrimSpace(form.Get("type")), Subnet: strings.TrimSpace(form.Get("subnet")), Groups: form.Get("groups"), Key: strings.TrimSpace(form.Get("key")),
		Offers: map[string][]store.CloudResource{}}
	if b.Enrolment == "" {
		b.Enrolment = wire.EnrolAttested
	}
	all, err := c.fleet.DB.ServerTemplates(c.ctx(), c.account())
	if err != nil {
		return b, err
	}
	b.Templates = slices.DeleteFunc(all, func(t store.ServerTemplate) bool { return t.Revision != 0 })
	if b.Clouds, err = c.fleet.DB.Clouds(c.ctx(), c.account()); err != nil {
		return b, err
	}
	if b.Cloud == 0 && len(b.Clouds) > 0 {
		b.Cloud = b.Clouds[len(b.Clouds)-1].ID // one that somebody has added, if any
	}
	if err := c.offer(&b); err != nil {
		return b, err
	}
	if b.Creds, err = c.credentialNames(); err != nil || b.Template == 0 {
		return b, err
	}
	return b, c.askInputs(&b, form)
}

// offer fills in what the cloud has.
func (c *call) offer(b *newServerBody) error {
	i := slices.IndexFunc(b.Clouds, func(one store.Cloud) bool { return one.ID == b.Cloud })
	if i < 0 {
		return fmt.Errorf("cloud %d: %w", b.Cloud, store.ErrNotFound)
	}
	b.Launches = c.opt.Machines != nil && b.Clouds[i].Credentials != store.CredentialsNone
	for _, kind := range []string{store.KindInstanceType, store.KindSubnet, store.KindSecurityGroup, store.KindSSHKey} {
		list, err := c.fleet.DB.CloudResources(c.ctx(), b.Cloud, kind, false)
		if err != nil {
			return err
		}
		b.Offers[kind] = list
	}
	return nil
}

// askInputs fills in what the ServerTemplate wants to know.
func (c *call) askInputs(b *newServerBody, form url.Values) error {
	t, err := c.templateOf(b.Template)
	if err != nil {
		return err
	}
	scripts, err := c.fleet.DB.BoundScripts(c.ctx(), t.ID, "")
	if err != nil {
		return err
	}
	b.Inputs = inputFields(shownInputs(scripts, ofTemplate(t)), form)
	b.Images, err = c.templateImages(t.ID)
	return err
}

func (c *call) createServer() error {
	form := c.r.PostForm
	b, err := c.newServerBody(form)
	if err != nil {
		return err
	}
	if form.Has("show") {
		return c.show(http.StatusOK, "new", "New server", b)
	}
	server, err := c.create(b, form)
	if text := problem(err); text != "" {
		b.Problem = text
		return c.show(http.StatusUnprocessableEntity, "new", "New server", b)
	}
	if err != nil {
		return err
	}
	if form.Has("launch") && b.Launches {
		return c.doLaunch(server, nil)
	}
	return c.to(fmt.Sprintf("/servers/%d?done=created", server.ID))
}

func (c *call) create(b newServerBody, form url.Values) (store.Server, error) {
	if b.Template == 0 {
		return store.Server{}, &fleet.InvalidError{Text: "Choose a ServerTemplate."}
	}
	values, err := readInputs(form)
	if err != nil {
		return store.Server{}, err
	}
	return c.fleet.CreateServer(c.ctx(), c.account(), fleet.ServerSpec{Name: b.Name, Description: b.Description, TemplateID: b.Template, Inputs: values, By: c.who.Email, Enrolment: b.Enrolment,
		Launch: store.Launch{CloudID: b.Cloud, ImageUID: b.ImageUID, MCIID: b.Image, InstanceType: b.InstanceType, SubnetUID: b.Subnet,
			SecurityGroupUIDs: strings.Fields(strings.ReplaceAll(b.Groups, ",", " ")), SSHKeyUID: b.Key}})
}

// number reads an id of a form; 0 when there is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
