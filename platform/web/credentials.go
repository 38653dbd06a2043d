// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// credentialsBody never holds a value: the page can replace one, not show it.
type credentialsBody struct {
	list
	Rows              []credentialRow
	Name, Description string
	Problem           string
}

// credentialRow is a credential without its value.
type credentialRow struct {
	store.Credential
	Sealed struct{} // hides the field from templates
}

func (c *call) credentials() error { return c.credentialsPage(http.StatusOK, credentialsBody{}) }

func (c *call) credentialsPage(status int, b credentialsBody) error {
	b.list = c.list()
	all, err := c.fleet.DB.Credentials(c.ctx(), c.account())
	if err != nil {
		return err
	}
	for _, one := range cut(&b.list, all, func(one store.Credential) string { return one.Name }) {
		b.Rows = append(b.Rows, credentialRow{Credential: one})
	}
	return c.show(status, "credentials", "Credentials", b)
}

func (c *call) setCredential() error {
	form := c.r.PostForm
	b := credentialsBody{Name: strings.TrimSpace(form.Get("name")), Description: strings.TrimSpace(form.Get("description"))}
	value := form.Get("value")
	if value == "" {
		b.Problem = "The value is empty."
		return c.credentialsPage(http.StatusUnprocessableEntity, b)
	}
	err := c.putCredential(b.Name, b.Description, secret.String(strings.ReplaceAll(value, "\r\n", "\n")))
	if b.Problem = problem(err); b.Problem != "" {
		return c.credentialsPage(http.StatusUnprocessableEntity, b)
	}
	if err != nil {
		return err
	}
	return c.to("/credentials?done=credential")
}

// putCredential gives a credential a new value, or makes it.
func (c *call) putCredential(name, description string, value secret.String) error {
	known, err := c.fleet.DB.Credential(c.ctx(), c.account(), name)
	if errors.Is(err, store.ErrNotFound) {
		_, err = c.fleet.CreateCredential(c.ctx(), c.by(), name, description, value)
		return err
	}
	if err != nil {
		return err
	}
	patch := fleet.CredentialPatch{Value: &value}
	if description != "" {
		patch.Description = &description
	}
	return c.fleet.UpdateCredential(c.ctx(), c.by(), known.ID, patch)
}

// shownCredential finds the credential of the path.
func (c *call) shownCredential() (store.Credential, error) {
	id, err := c.id()
	if err != nil {
		return store.Credential{}, err
	}
	return c.fleet.DB.CredentialByID(c.ctx(), c.account(), id)
}

func (c *call) confirmRemoveCredential() error {
	one, err := c.shownCredential()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "confirm", "Remove credential", confirmBody{Question: "Remove the credential " + one.Name + "?", Label: "Remove", Grave: true,
		Post: fmt.Sprintf("%s/credentials/%d/remove", Base, one.ID), Back: Base + "/credentials",
		Text: "Scripts whose inputs name it will wait until it exists again."})
}

func (c *call) removeCredential() error {
	one, err := c.shownCredential()
	if err != nil {
		return err
	}
	if err := c.fleet.DeleteCredential(c.ctx(), c.by(), one.ID); err != nil {
		return err
	}
	return c.to("/credentials?done=uncredited")
}
