// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// settingsBody is the form with what counts at the next launch of a server.
type settingsBody struct {
	store.Server
	Title       string // its name until now
	Groups      string
	Clouds      []store.Cloud
	Images      []templateImage
	Deployments []store.Deployment
	Offers      map[string][]store.CloudResource
	Problem     string
}

func (c *call) settingsOf() (b settingsBody, err error) {
	if b.Server, err = c.ownServer(); err != nil {
		return b, err
	}
	b.Title, b.Groups = b.Name, strings.Join(b.SecurityGroupUIDs, " ")
	if b.Images, err = c.templateImages(b.TemplateID); err != nil {
		return b, err
	}
	b.Deployments, err = c.fleet.DB.Deployments(c.ctx(), c.account())
	return b, err
}

// complete adds what the cloud has.
func (c *call) complete(b *settingsBody) (err error) {
	if b.Clouds, err = c.fleet.DB.Clouds(c.ctx(), c.account()); err != nil {
		return err
	}
	b.Offers = map[string][]store.CloudResource{}
	if !slices.ContainsFunc(b.Clouds, func(one store.Cloud) bool { return one.ID == b.CloudID }) {
		return nil // of a form that somebody made up
	}
	for _, kind := range []string{store.KindInstanceType, store.KindSubnet, store.KindSecurityGroup, store.KindSSHKey} {
		if b.Offers[kind], err = c.fleet.DB.CloudResources(c.ctx(), b.CloudID, kind, false); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) settingsForm() error {
	b, err := c.settingsOf()
	if err == nil {
		err = c.complete(&b)
	}
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "settings", "Settings of "+b.Title, b)
}

func (c *call) setSettings() error {
	b, err := c.settingsOf()
	if err != nil {
		return err
	}
	form := c.r.PostForm
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	b.Name, b.Description, b.DeploymentID, b.Groups = get("name"), get("description"), number(form.Get("deployment")), get("groups")
	b.Launch = store.Launch{CloudID: number(form.Get("cloud")), ImageUID: get("image"), MCIID: number(form.Get("mci")), InstanceType: get("type"), SubnetUID: get("subnet"),
		SecurityGroupUIDs: strings.Fields(strings.ReplaceAll(b.Groups, ",", " ")), SSHKeyUID: get("key")}
	b.UserData = strings.ReplaceAll(form.Get("user-data"), "\r\n", "\n")
	if err := c.complete(&b); err != nil {
		return err
	}
	err = c.fleet.UpdateServer(c.ctx(), c.by(), b.ID, b.patch())
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "settings", "Settings of "+b.Title, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/servers/%d?done=settings", b.ID))
}

func (b settingsBody) patch() fleet.ServerPatch {
	p := fleet.ServerPatch{Name: &b.Name, Description: &b.Description, UserData: &b.UserData, Launch: fleet.LaunchPatch{CloudID: &b.CloudID, ImageUID: &b.ImageUID, MCIID: &b.MCIID,
		InstanceType: &b.InstanceType, SubnetUID: &b.SubnetUID, SecurityGroupUIDs: &b.SecurityGroupUIDs, SSHKeyUID: &b.SSHKeyUID}}
	if b.DeploymentID != 0 {
		p.DeploymentID = &b.DeploymentID
	}
	return p
}
