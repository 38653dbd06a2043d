// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// instanceRow is a line of the list of instances.
type instanceRow struct {
	store.Instance
	Server string // its name; empty for a raw instance
	Place  string // the cloud's name
}

// Title is what people call the instance.
func (r instanceRow) Title() string {
	for _, name := range []string{r.ResourceUID, r.Name} {
		if name != "" {
			return name
		}
	}
	return r.UID
}

// Shown is the state that says most: the agent's where there is one, else the
// cloud's.
func (r instanceRow) Shown() string {
	if r.DeclaredAt.IsZero() && r.CloudState != "" {
		return r.CloudState
	}
	return r.State
}

// Raw tells whether no server has the instance.
func (r instanceRow) Raw() bool { return r.ServerID == 0 }

type instancesBody struct {
	list
	Owner store.Owner
	Rows  []instanceRow
}

func (c *call) instances() error {
	b := instancesBody{list: c.list(), Owner: store.Owner(c.r.URL.Query().Get("owner"))}
	if b.Owner != store.OwnerServer && b.Owner != store.OwnerNobody {
		b.Owner = store.OwnerAny
	}
	found, total, err := c.fleet.DB.InstancesPage(c.ctx(), c.account(), b.page(), b.Owner)
	if err != nil {
		return err
	}
	b.Total = total
	if b.Rows, err = c.instanceRows(found); err != nil {
		return err
	}
	if c.fragment {
		return c.partIfChanged("instance-rows", b)
	}
	return c.show(http.StatusOK, "instances", "Instances", b)
}

func (c *call) instanceRows(found []store.Instance) (rows []instanceRow, err error) {
	clouds, err := c.cloudNames()
	if err != nil {
		return nil, err
	}
	for _, inst := range found {
		row := instanceRow{Instance: inst, Place: clouds[inst.CloudID]}
		if inst.SeenCloudID != 0 {
			row.Place = clouds[inst.SeenCloudID]
		}
		if inst.ServerID != 0 {
			server, err := c.fleet.DB.Server(c.ctx(), inst.ServerID)
			if err != nil {
				return nil, err
			}
			row.Server = server.Name
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (c *call) cloudNames() (map[int64]string, error) {
	clouds, err := c.fleet.DB.Clouds(c.ctx(), c.account())
	names := make(map[int64]string, len(clouds))
	for _, one := range clouds {
		names[one.ID] = one.Name
	}
	return names, err
}

// instanceBody is the page of an instance.
type instanceBody struct {
	instanceRow
	History []store.StateChange
	Tags    []store.TagRow
	Entries []auditRow
	Actions []action
	Locked  bool
}

func (c *call) shownInstance() (row instanceRow, err error) {
	inst, err := c.fleet.DB.InstanceByUID(c.ctx(), c.account(), c.r.PathValue("uid"))
	if err != nil {
		return row, err
	}
	rows, err := c.instanceRows([]store.Instance{inst})
	if err != nil {
		return row, err
	}
	return rows[0], nil
}

func (c *call) instance() error {
	var b instanceBody
	var err error
	if b.instanceRow, err = c.shownInstance(); err != nil {
		return err
	}
	if b.History, err = c.fleet.DB.StateHistory(c.ctx(), b.ID); err != nil {
		return err
	}
	if b.Tags, err = c.fleet.DB.Tags(c.ctx(), c.account(), fleet.InstanceHref(b.Instance)); err != nil {
		return err
	}
	entries, err := c.fleet.DB.AuditBackwards(c.ctx(), store.AuditPage{AccountID: c.account(), InstanceID: b.ID, Limit: 15})
	if err != nil {
		return err
	}
	if b.Entries, err = c.auditRows(entries); err != nil {
		return err
	}
	if b.Locked, err = c.fleet.DB.InstanceLocked(c.ctx(), b.ID); err != nil {
		return err
	}
	b.Actions = rawActionsOf(b.instanceRow, b.Locked)
	if c.fragment {
		return c.partIfChanged("instance-live", b)
	}
	return c.show(http.StatusOK, "instance", b.Title(), b)
}

// rawActions are what can be done to an instance that no server has: the cloud
// does it, without scripts.
var rawActions = map[string]action{
	"terminate": {Label: "Terminate", Question: "Terminate %s?", Grave: true, Text: "No server has this instance, so no script runs. The machine and what is on its own disks are gone."},
	"reboot":    {Label: "Reboot", Question: "Reboot %s?", Text: "The cloud restarts the machine."},
	"stop":      {Label: "Stop", Question: "Stop %s?", Text: "The cloud switches the machine off. Its disks stay."},
	"lock":      {Label: "Lock", Question: "Lock %s?", Text: lockText},
	"unlock":    {Label: "Unlock", Question: "Unlock %s?", Text: "It can be terminated and stopped again."},
	"start":     {Label: "Start", Question: "Start %s?", Text: "The cloud switches the machine on again."},
}

// rawActionsOf lists what makes sense for a raw instance now; a managed one is
// dealt with on the page of its server.
func rawActionsOf(row instanceRow, locked bool) (list []action) {
	var names []string
	switch {
	case !row.Raw() || !row.EndedAt.IsZero() || !row.GoneAt.IsZero():
	case row.CloudState == "running":
		names = []string{"reboot", "stop", "terminate"}
	case row.CloudState == "stopped":
		names = []string{"start", "terminate"}
	}
	if len(names) > 0 {
		names = append(names, map[bool]string{false: "lock", true: "unlock"}[locked])
	}
	for _, name := range names {
		a := rawActions[name]
		a.Name = name
		list = append(list, a)
	}
	return list
}

// rawTarget finds the instance and the action of the path.
func (c *call) rawTarget() (row instanceRow, a action, err error) {
	if row, err = c.shownInstance(); err != nil {
		return row, a, err
	}
	a, ok := rawActions[c.r.PathValue("action")]
	if !ok {
		return row, a, errNoPage
	}
	if !row.Raw() {
		return row, a, &fleet.InvalidError{Text: fmt.Sprintf("Server %s has this instance; use the page of the server.", row.Server)}
	}
	a.Name = c.r.PathValue("action")
	return row, a, nil
}

func (row instanceRow) confirmBody(a action, problem string) confirmBody {
	at := Base + "/instances/" + row.UID
	return confirmBody{Question: fmt.Sprintf(a.Question, row.Title()), Text: a.Text, Label: a.Label, Post: at + "/" + a.Name, Back: at, Problem: problem, Grave: a.Grave}
}

func (c *call) confirmRaw() error {
	row, a, err := c.rawTarget()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "confirm", a.Label, row.confirmBody(a, ""))
}

func (c *call) actRaw() error {
	row, a, err := c.rawTarget()
	if err != nil {
		return err
	}
	err = c.doRaw(row.Instance, a.Name)
	if text := problem(err); text != "" {
		return c.show(http.StatusUnprocessableEntity, "confirm", a.Label, row.confirmBody(a, text))
	}
	if err != nil {
		return err
	}
	return c.to("/instances/" + row.UID + "?done=" + a.Name)
}

func (c *call) doRaw(inst store.Instance, name string) error {
	if name == "lock" || name == "unlock" {
		return c.fleet.LockInstance(c.ctx(), c.by(), inst.ID, name == "lock")
	}
	m := c.opt.Machines
	if m == nil {
		return errNoCloud
	}
	if name == "terminate" || name == "stop" {
		if err := c.unlocked(inst); err != nil {
			return err
		}
	}
	do := map[string]func(context.Context, int64, string) error{"terminate": m.Terminate, "reboot": m.Reboot, "stop": m.Stop, "start": m.Start}[name]
	return do(c.ctx(), inst.ID, c.who.Email)
}

// ignoreMissing makes a missing row no error.
func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
