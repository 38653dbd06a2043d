// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

type deploymentsBody struct {
	list
	Rows              []deploymentRow
	Name, Description string
	Problem           string
}

type deploymentRow struct {
	store.Deployment
	Servers int
}

func (c *call) deployments() error { return c.deploymentsPage(http.StatusOK, deploymentsBody{}) }

func (c *call) deploymentsPage(status int, b deploymentsBody) error {
	b.list = c.list()
	all, err := c.fleet.DB.Deployments(c.ctx(), c.account())
	if err != nil {
		return err
	}
	servers, err := c.fleet.DB.Servers(c.ctx(), c.account())
	if err != nil {
		return err
	}
	count := map[int64]int{}
	for _, s := range servers {
		count[s.DeploymentID]++
	}
	for _, d := range cut(&b.list, all, func(d store.Deployment) string { return d.Name }) {
		b.Rows = append(b.Rows, deploymentRow{d, count[d.ID]})
	}
	return c.show(status, "deployments", "Deployments", b)
}

func (c *call) createDeployment() error {
	form := c.r.PostForm
	b := deploymentsBody{Name: strings.TrimSpace(form.Get("name")), Description: strings.TrimSpace(form.Get("description"))}
	id, err := c.fleet.CreateDeployment(c.ctx(), c.by(), fleet.DeploymentPatch{Name: &b.Name, Description: &b.Description})
	if b.Problem = problem(err); b.Problem != "" {
		return c.deploymentsPage(http.StatusUnprocessableEntity, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/deployments/%d?done=saved", id))
}

// deploymentBody is the page of a deployment; its fields are those of the form.
type deploymentBody struct {
	store.Deployment
	Servers []store.Server
	Problem string
}

func (c *call) deploymentOf() (b deploymentBody, err error) {
	id, err := c.id()
	if err != nil {
		return b, err
	}
	if b.Deployment, err = c.fleet.DB.Deployment(c.ctx(), c.account(), id); err != nil {
		return b, err
	}
	all, err := c.fleet.DB.Servers(c.ctx(), c.account())
	for _, s := range all {
		if s.DeploymentID == id {
			b.Servers = append(b.Servers, s)
		}
	}
	return b, err
}

func (c *call) deployment() error {
	b, err := c.deploymentOf()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "deployment", b.Name, b)
}

func (c *call) setDeployment() error {
	b, err := c.deploymentOf()
	if err != nil {
		return err
	}
	form := c.r.PostForm
	title := b.Name
	b.Name, b.Description, b.ServerTagScope, b.Locked = strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("description")), form.Get("scope"), form.Has("locked")
	err = c.fleet.UpdateDeployment(c.ctx(), c.by(), b.ID, fleet.DeploymentPatch{Name: &b.Name, Description: &b.Description, ServerTagScope: &b.ServerTagScope, Locked: &b.Locked})
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "deployment", title, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/deployments/%d?done=saved", b.ID))
}

func (b deploymentBody) confirm(text string) confirmBody {
	at := fmt.Sprintf("%s/deployments/%d", Base, b.ID)
	return confirmBody{Question: "Delete the deployment " + b.Name + "?", Text: "A deployment with servers cannot be deleted.", Label: "Delete", Post: at + "/delete", Back: at, Problem: text, Grave: true}
}

func (c *call) confirmDeleteDeployment() error {
	b, err := c.deploymentOf()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "confirm", "Delete", b.confirm(""))
}

func (c *call) deleteDeployment() error {
	b, err := c.deploymentOf()
	if err != nil {
		return err
	}
	err = c.fleet.DeleteDeployment(c.ctx(), c.by(), b.ID)
	if text := problem(err); text != "" {
		return c.show(http.StatusUnprocessableEntity, "confirm", "Delete", b.confirm(text))
	}
	if err != nil {
		return err
	}
	return c.to("/deployments?done=deleted")
}
