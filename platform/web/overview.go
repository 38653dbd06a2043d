// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// overviewBody is the front page: how many of what, what needs a person, what
// happened last.
type overviewBody struct {
	Servers   []store.StateCount
	Instances []store.StateCount
	Templates int
	Stranded  []store.Server
	Entries   []auditRow
}

func (c *call) overview() error {
	var b overviewBody
	var err error
	if b.Servers, err = c.fleet.DB.ServerStates(c.ctx(), c.account()); err != nil {
		return err
	}
	if b.Instances, err = c.fleet.DB.InstanceStates(c.ctx(), c.account()); err != nil {
		return err
	}
	templates, err := c.fleet.DB.ServerTemplates(c.ctx(), c.account())
	if err != nil {
		return err
	}
	b.Templates = len(templates)
	if b.Stranded, _, err = c.fleet.DB.ServersPage(c.ctx(), c.account(), store.Page{State: "stranded", Limit: 10}); err != nil {
		return err
	}
	entries, err := c.fleet.DB.AuditBackwards(c.ctx(), store.AuditPage{AccountID: c.account(), Limit: 10})
	if err != nil {
		return err
	}
	if b.Entries, err = c.auditRows(entries); err != nil {
		return err
	}
	return c.show(http.StatusOK, "overview", "Overview", b)
}

// Sum is the number of all servers.
func (b overviewBody) Sum() int {
	n := 0
	for _, s := range b.Servers {
		n += s.Count
	}
	return n
}

// Living is the number of all living instances.
func (b overviewBody) Living() int {
	n := 0
	for _, s := range b.Instances {
		n += s.Count
	}
	return n
}

// auditRow is a line of a list of audit entries.
type auditRow struct {
	store.AuditEntry
	Server string // its name, empty for none
	Live   bool
}

// Bad tells whether the entry is about something that went wrong.
func (r auditRow) Bad() bool {
	return r.Notify == "Error" || r.Notify == "Security" || failed(r.Summary)
}

func (c *call) auditRows(entries []store.AuditEntry) ([]auditRow, error) {
	names := map[int64]string{}
	rows := make([]auditRow, len(entries))
	for i, e := range entries {
		rows[i] = auditRow{AuditEntry: e, Live: fleet.Live(e, c.now())}
		if e.ServerID == 0 {
			continue
		}
		if _, known := names[e.ServerID]; !known {
			server, err := c.fleet.DB.Server(c.ctx(), e.ServerID)
			if err != nil {
				return nil, err
			}
			names[e.ServerID] = server.Name
		}
		rows[i].Server = names[e.ServerID]
	}
	return rows, nil
}
