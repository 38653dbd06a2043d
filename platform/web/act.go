// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// action is something that a person can do to a server or an instance. It is
// asked for on a page of its own, which works without JavaScript and is harder
// to hit by accident than a button.
type action struct {
	Name, Label string
	// Question and Text are what the page asks and explains.
	Question, Text string
	Grave          bool
	do             func(*call, store.Server, *store.Instance) error
}

// serverActions are all actions by name.
var serverActions = map[string]action{
	"terminate": {Label: "Terminate", Question: "Terminate the instance of %s?", Grave: true, do: (*call).terminate,
		Text: "Its decommission scripts run first. Then the machine and what is on its own disks are gone. The server stays and can be launched again."},
	"reboot": {Label: "Reboot", Question: "Reboot the instance of %s?", do: (*call).reboot,
		Text: "Its decommission scripts run, then the machine restarts and runs its boot scripts again."},
	"stop": {Label: "Stop", Question: "Stop the instance of %s?", do: (*call).stop,
		Text: "Its decommission scripts run, then the machine is switched off. Its disks stay."},
	"start": {Label: "Start", Question: "Start the instance of %s?", do: (*call).start,
		Text: "The machine is switched on again and runs its boot scripts."},
	"relaunch": {Label: "Relaunch", Question: "Relaunch %s?", Grave: true, do: (*call).relaunch,
		Text: "The instance it has is shut out and counts as terminated. A new one takes its place."},
	"lock": {Label: "Lock", Question: "Lock the instance of %s?", do: (*call).lock, Text: lockText},
	"unlock": {Label: "Unlock", Question: "Unlock the instance of %s?", do: (*call).unlock,
		Text: "It can be terminated and stopped again, and scripts can run on it."},
	"delete": {Label: "Delete", Question: "Delete %s?", Grave: true, do: (*call).deleteServer,
		Text: "The server and its inputs are removed. Its audit entries stay."},
}

const lockText = "Until somebody unlocks it, it cannot be terminated or stopped, and no script runs on it."

func serverAction(name string) (action, bool) {
	a, ok := serverActions[name]
	a.Name = name
	return a, ok
}

// actionsOf lists what makes sense for a server now.
func (c *call) actionsOf(b serverBody) (list []action, err error) {
	names := []string{"relaunch", "delete"}
	switch {
	case b.Alive() && (b.State == wire.StateDecommissioned || b.Current.CloudState == "stopped"):
		names = []string{"terminate", "relaunch"}
		// An agent that is switched off cannot hear us, but its cloud can.
		if ok, err := c.reachable(*b.Current); err != nil {
			return nil, err
		} else if ok {
			names = append([]string{"start"}, names...)
		}
	case b.Alive():
		names = []string{"reboot", "stop", "terminate", "relaunch"}
	}
	if b.Alive() {
		names = append(names, map[bool]string{false: "lock", true: "unlock"}[b.Locked])
	}
	for _, name := range names {
		a, _ := serverAction(name)
		list = append(list, a)
	}
	return list, nil
}

// launches tells whether a server is in a cloud that we can launch in.
func (c *call) launches(server store.Server) (bool, error) {
	if c.opt.Machines == nil {
		return false, nil
	}
	return c.usable(server.CloudID)
}

// reachable tells whether the cloud that an instance is in can be called.
func (c *call) reachable(inst store.Instance) (bool, error) {
	if c.opt.Machines == nil {
		return false, nil
	}
	for _, id := range []int64{inst.SeenCloudID, inst.CloudID} {
		if id == 0 {
			continue
		}
		if ok, err := c.usable(id); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

func (c *call) usable(cloudID int64) (bool, error) {
	cloud, err := c.fleet.DB.Cloud(c.ctx(), cloudID)
	if err != nil {
		return false, ignoreMissing(err)
	}
	return cloud.AccountID == c.account() && cloud.Credentials != store.CredentialsNone, nil
}

// confirmBody asks whether somebody means it.
type confirmBody struct {
	Question, Text, Label string
	Post, Back            string
	Problem               string
	Grave                 bool
}

func (c *call) confirm() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	a, ok := serverAction(c.r.PathValue("action"))
	if !ok {
		return errNoPage
	}
	return c.show(http.StatusOK, "confirm", a.Label, a.confirmBody(server, ""))
}

func (a action) confirmBody(server store.Server, problem string) confirmBody {
	at := fmt.Sprintf("%s/servers/%d", Base, server.ID)
	return confirmBody{Question: fmt.Sprintf(a.Question, server.Name), Text: a.Text, Label: a.Label, Post: at + "/" + a.Name, Back: at, Problem: problem, Grave: a.Grave}
}

func (c *call) act() error {
	server, err := c.ownServer()
	if err != nil {
		return err
	}
	a, ok := serverAction(c.r.PathValue("action"))
	if !ok {
		return errNoPage
	}
	inst, err := c.currentInstance(server)
	if err != nil {
		return err
	}
	err = a.do(c, server, inst)
	if text := problem(err); text != "" {
		return c.show(http.StatusUnprocessableEntity, "confirm", a.Label, a.confirmBody(server, text))
	}
	switch {
	case err != nil:
		return err
	case a.Name == "delete":
		return c.to("/servers?done=delete")
	default:
		return c.to(fmt.Sprintf("/servers/%d?done=%s", server.ID, a.Name))
	}
}

// Without a cloud that we can call, the agent is asked; the machine itself is
// then the operator's to remove.

func (c *call) terminate(server store.Server, inst *store.Instance) error {
	return c.endOrReboot(server, inst, wire.KindTerminate)
}

func (c *call) reboot(server store.Server, inst *store.Instance) error {
	return c.endOrReboot(server, inst, wire.KindReboot)
}

func (c *call) stop(server store.Server, inst *store.Instance) error {
	return c.endOrReboot(server, inst, wire.KindStop)
}

func (c *call) endOrReboot(server store.Server, inst *store.Instance, kind string) error {
	if inst != nil && kind != wire.KindReboot {
		if err := c.unlocked(*inst); err != nil {
			return err
		}
	}
	if inst != nil {
		ok, err := c.reachable(*inst)
		if err != nil {
			return err
		}
		if ok {
			return c.throughCloud(*inst, kind)
		}
		return c.fleet.ShutdownInstance(c.ctx(), c.by(), inst.ID, kind)
	}
	return c.fleet.Shutdown(c.ctx(), c.by(), server.Name, kind) // says why not
}

func (c *call) throughCloud(inst store.Instance, kind string) error {
	m := c.opt.Machines
	switch kind {
	case wire.KindTerminate:
		return m.Terminate(c.ctx(), inst.ID, c.who.Email)
	case wire.KindStop:
		return m.Stop(c.ctx(), inst.ID, c.who.Email)
	default:
		return m.Reboot(c.ctx(), inst.ID, c.who.Email)
	}
}

// unlocked refuses to end what somebody has locked.
func (c *call) unlocked(inst store.Instance) error {
	locked, err := c.fleet.DB.InstanceLocked(c.ctx(), inst.ID)
	if err == nil && locked {
		err = &fleet.InvalidError{Text: fmt.Sprintf("%s is locked; unlock it first.", fleet.NameOf(inst))}
	}
	return err
}

func (c *call) lock(_ store.Server, inst *store.Instance) error { return c.setLock(inst, true) }

func (c *call) unlock(_ store.Server, inst *store.Instance) error { return c.setLock(inst, false) }

func (c *call) setLock(inst *store.Instance, locked bool) error {
	if inst == nil || !inst.EndedAt.IsZero() {
		return &fleet.InvalidError{Text: "The server has no instance to lock."}
	}
	return c.fleet.LockInstance(c.ctx(), c.by(), inst.ID, locked)
}

func (c *call) start(_ store.Server, inst *store.Instance) error {
	if inst == nil {
		return errNoCloud
	}
	ok, err := c.reachable(*inst)
	switch {
	case err != nil:
		return err
	case !ok:
		return errNoCloud
	}
	return c.opt.Machines.Start(c.ctx(), inst.ID, c.who.Email)
}

func (c *call) relaunch(server store.Server, inst *store.Instance) error {
	if inst != nil {
		if err := c.unlocked(*inst); err != nil {
			return err
		}
	}
	ok, err := c.launches(server)
	switch {
	case err != nil:
		return err
	case ok:
		return c.opt.Machines.Relaunch(c.ctx(), server.ID, c.who.Email)
	}
	_, err = c.fleet.RelaunchServer(c.ctx(), c.by(), server.Name, "")
	return err
}

func (c *call) deleteServer(server store.Server, _ *store.Instance) error {
	return c.fleet.DeleteServerByID(c.ctx(), c.by(), server.ID)
}
