// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func accountHref(id int64) string { return "/api/accounts/" + itoa64(id) }

func accountResource(a store.Account) resource {
	if a.CreatedAt.IsZero() { // the one that is there from the start
		a.CreatedAt = time.Unix(0, 0)
	}
	return object(resource{"name": a.Name, "created_at": wire.FormatTime(a.CreatedAt), "updated_at": wire.FormatTime(a.CreatedAt)},
		[]wire.Link{link("self", accountHref(a.ID)), link("cluster", "/api/clusters/1")})
}

// account shows the account of the session; others are nobody's business.
func (c *call) account() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	if id != c.who.AccountID {
		return reply{}, fmt.Errorf("Couldn't find Account with ID=%d: %w", id, store.ErrNotFound) //nolint:staticcheck // the original's words
	}
	a, err := c.fleet.DB.Account(c.ctx(), id)
	if err != nil {
		return reply{}, err
	}
	return shown("account", accountResource(a))
}

// nothing answers with an empty list where this platform has nothing, so that
// tools that look there go on.
func (c *call) nothing() (reply, error) {
	return reply{status: 200, media: "resource", collection: true, body: []resource{}}, nil
}

// value is the part of a credential that only the view sensitive shows.
func (c *call) credentialResource(cred store.Credential, view string) (resource, error) {
	r := object(resource{"name": cred.Name, "description": cred.Description, "created_at": wire.FormatTime(cred.CreatedAt), "updated_at": wire.FormatTime(cred.UpdatedAt)},
		[]wire.Link{link("self", fleet.CredentialHref(cred.ID))})
	if view != "sensitive" {
		return r, nil
	}
	plain, err := c.fleet.CredentialValue(c.ctx(), c.by(), cred.ID)
	r["value"] = plain.Reveal()
	return r, err
}

// credentialView asks for the role that the view sensitive needs.
func (c *call) credentialView() (string, error) {
	view := c.view("sensitive")
	if view == "sensitive" && !c.who.May(access.Admin) {
		return view, &deniedError{"you need the role admin for the view sensitive of credentials"}
	}
	return view, c.p.problem()
}

func (c *call) credentials() (reply, error) {
	view, err := c.credentialView()
	if err != nil {
		return reply{}, err
	}
	creds, err := c.fleet.DB.Credentials(c.ctx(), c.who.AccountID)
	list := make([]resource, len(creds))
	for i, cred := range creds {
		if list[i], err = c.credentialResource(cred, view); err != nil {
			return reply{}, err
		}
	}
	if err != nil {
		return reply{}, err
	}
	return c.index("credential", list, "name", "description")
}

func (c *call) credential() (reply, error) {
	id := c.id("id")
	view, err := c.credentialView()
	if err != nil {
		return reply{}, err
	}
	cred, err := c.fleet.DB.CredentialByID(c.ctx(), c.who.AccountID, id)
	if err != nil {
		return reply{}, err
	}
	r, err := c.credentialResource(cred, view)
	if err != nil {
		return reply{}, err
	}
	return shown("credential", r)
}

func (c *call) createCredential() (reply, error) {
	p := c.p.sub("credential")
	name, value, description := p.need("name"), p.need("value"), p.text("description")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateCredential(c.ctx(), c.by(), name, description, secret.String(value))
	return created(fleet.CredentialHref(id), err)
}

func (c *call) updateCredential() (reply, error) {
	p, id := c.p.sub("credential"), c.id("id")
	patch := fleet.CredentialPatch{Name: p.opt("name"), Description: p.opt("description")}
	if value := p.opt("value"); value != nil {
		plain := secret.String(*value)
		patch.Value = &plain
	}
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateCredential(c.ctx(), c.by(), id, patch))
}

func (c *call) deleteCredential() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteCredential(c.ctx(), c.by(), id))
}
