// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// serverRow is a line of the list of servers.
type serverRow struct {
	store.Server
	Template string
	Instance *store.Instance // nil before the first enrolment
}

type serversBody struct {
	list
	States []string
	Rows   []serverRow
}

// serverStates are what the list can be filtered by.
var serverStates = []string{wire.StateInactive, wire.StatePending, wire.StateBooting, wire.StateOperational, wire.StateStranded, wire.StateDecommissioning, wire.StateDecommissioned}

func (c *call) servers() error {
	b := serversBody{list: c.list(), States: serverStates}
	servers, total, err := c.fleet.DB.ServersPage(c.ctx(), c.account(), b.page())
	if err != nil {
		return err
	}
	b.Total = total
	names := map[int64]string{}
	for _, server := range servers {
		row := serverRow{Server: server}
		if _, known := names[server.TemplateID]; !known {
			t, err := c.fleet.DB.ServerTemplate(c.ctx(), server.TemplateID)
			if err != nil {
				return err
			}
			names[server.TemplateID] = t.Name
		}
		row.Template = names[server.TemplateID]
		if row.Instance, err = c.currentInstance(server); err != nil {
			return err
		}
		b.Rows = append(b.Rows, row)
	}
	if c.fragment {
		return c.partIfChanged("server-rows", b)
	}
	return c.show(http.StatusOK, "servers", "Servers", b)
}

// currentInstance is the instance of a server's newest token once it was
// launched or has declared itself; nil before.
func (c *call) currentInstance(server store.Server) (*store.Instance, error) {
	_, inst, err := c.fleet.Current(c.ctx(), &c.fleet.DB.Queries, server)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if inst.EndedAt.IsZero() && !fleet.Living(inst) {
		return nil, nil //nolint:nilnil // documented: no instance is not an error
	}
	return &inst, nil
}

// ownServer finds the server of the path within the person's account.
func (c *call) ownServer() (store.Server, error) {
	id, err := c.id()
	if err != nil {
		return store.Server{}, err
	}
	return c.fleet.ServerByID(c.ctx(), c.account(), id)
}

// serverBody is the page of a server.
type serverBody struct {
	fleet.ServerView
	Row      store.Server
	Current  *store.Instance
	Template store.ServerTemplate
	Inputs   []shownInput
	Scripts  []store.BoundScript // operational ones
	Tags     []store.TagRow
	Entries  []auditRow
	Actions  []action
	Locked   bool // its instance is
}

// Alive tells whether there is an instance to talk to.
func (b serverBody) Alive() bool { return b.Current != nil && b.Current.EndedAt.IsZero() }

func (c *call) server() error {
	b, err := c.serverBody()
	if err != nil {
		return err
	}
	if c.fragment {
		return c.partIfChanged("server-live", b)
	}
	return c.show(http.StatusOK, "server", b.Name, b)
}

func (c *call) serverBody() (b serverBody, err error) {
	if b.Row, err = c.ownServer(); err != nil {
		return b, err
	}
	if b.ServerView, err = c.fleet.ServerByName(c.ctx(), c.account(), b.Row.Name); err != nil {
		return b, err
	}
	if b.Current, err = c.currentInstance(b.Row); err != nil {
		return b, err
	}
	if b.Template, err = c.fleet.DB.ServerTemplate(c.ctx(), b.Row.TemplateID); err != nil {
		return b, err
	}
	scripts, err := c.fleet.DB.BoundScripts(c.ctx(), b.Row.TemplateID, "")
	if err != nil {
		return b, err
	}
	instance := int64(0)
	if b.Alive() {
		instance = b.Current.ID
	}
	levels, err := c.levels(b.Row, instance)
	if err != nil {
		return b, err
	}
	b.Inputs = shownInputs(scripts, levels...)
	b.Scripts = slices.DeleteFunc(scripts, func(s store.BoundScript) bool { return s.Sequence != string(servertemplate.Operational) })
	if b.Current != nil {
		if b.Tags, err = c.fleet.DB.Tags(c.ctx(), c.account(), fleet.InstanceHref(*b.Current)); err != nil {
			return b, err
		}
	}
	if b.Alive() {
		if b.Locked, err = c.fleet.DB.InstanceLocked(c.ctx(), b.Current.ID); err != nil {
			return b, err
		}
	}
	entries, err := c.fleet.DB.AuditBackwards(c.ctx(), store.AuditPage{AccountID: c.account(), ServerID: b.Row.ID, Limit: 15})
	if err != nil {
		return b, err
	}
	if b.Entries, err = c.auditRows(entries); err != nil {
		return b, err
	}
	for i := range b.Entries {
		b.Entries[i].Server = "" // the page says it
	}
	b.Actions, err = c.actionsOf(b)
	return b, err
}

// tag changes the tags of a server's instance.
func (c *call) tag() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	inst, ok, err := c.fleet.CurrentInstance(c.ctx(), server)
	if err != nil {
		return err
	}
	add, remove := words(c.r.PostForm.Get("add")), c.r.PostForm["remove"]
	switch {
	case !ok:
		return &fleet.InvalidError{Text: "The server has no instance to tag."}
	case len(add)+len(remove) == 0:
		return &fleet.InvalidError{Text: "Write a tag to add, such as app:role=web, or choose one to remove."}
	}
	hrefs := []string{fleet.InstanceHref(inst)}
	if len(remove) > 0 {
		if err := c.fleet.ChangeTagsAs(c.ctx(), c.by(), hrefs, remove, true); err != nil {
			return err
		}
	}
	if len(add) > 0 {
		if err := c.fleet.ChangeTagsAs(c.ctx(), c.by(), hrefs, add, false); err != nil {
			return err
		}
	}
	return c.to(fmt.Sprintf("/servers/%d?done=tagged", server.ID))
}

// words are the lines of a text field without empty ones.
func words(text string) (list []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}
