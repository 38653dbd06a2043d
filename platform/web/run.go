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
)

// maxTargets bounds the servers of one form.
const maxTargets = perPage

// runBody is the form that runs a script on one server or on several.
type runBody struct {
	Problem string
	Servers []store.Server
	Choices []runChoice
	Script  int64 // the chosen one, 0 for none yet
	Inputs  []inputField
	Creds   []string
	Thread  string
	// Done lists what was queued when only some servers took it.
	Done []runResult
}

// Kinds are the choices of an input.
func (runBody) Kinds() any { return inputKinds }

// runChoice is a script to choose; scripts of the servers' own ServerTemplates
// come first.
type runChoice struct {
	ID    int64
	Name  string
	Group string
}

type runResult struct {
	Server  store.Server
	AuditID int64
	Problem string
}

func (c *call) runForm() error {
	b, err := c.runBody(c.r.URL.Query())
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "run", "Run a script", b)
}

// runBody reads the servers and the script of a form and prepares the rest.
func (c *call) runBody(form url.Values) (b runBody, err error) {
	if b.Servers, err = c.targets(form["server"]); err != nil {
		return b, err
	}
	if b.Choices, err = c.runChoices(b.Servers); err != nil {
		return b, err
	}
	if b.Creds, err = c.credentialNames(); err != nil {
		return b, err
	}
	b.Thread = form.Get("thread")
	b.Script, _ = strconv.ParseInt(form.Get("script"), 10, 64)
	if b.Script <= 0 {
		b.Script = 0
		return b, nil
	}
	script, err := c.fleet.DB.Script(c.ctx(), c.account(), b.Script)
	if err != nil {
		return b, err
	}
	var levels []level
	if len(b.Servers) == 1 { // with more of them, what is inherited may differ
		inst, ok, err := c.fleet.CurrentInstance(c.ctx(), b.Servers[0])
		if err != nil && ignoreMissing(err) != nil {
			return b, err
		}
		if !ok {
			inst.ID = 0
		}
		if levels, err = c.levels(b.Servers[0], inst.ID); err != nil {
			return b, err
		}
	}
	b.Inputs = inputFields(shownInputs([]store.BoundScript{{RightScript: script}}, levels...), form)
	return b, nil
}

func (c *call) targets(ids []string) (list []store.Server, err error) {
	if len(ids) == 0 {
		return nil, &fleet.InvalidError{Text: "Choose at least one server in the list of servers first."}
	}
	if len(ids) > maxTargets {
		return nil, &fleet.InvalidError{Text: fmt.Sprintf("Choose at most %d servers at a time.", maxTargets)}
	}
	for _, text := range ids {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errNoPage
		}
		server, err := c.fleet.ServerByID(c.ctx(), c.account(), id)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(list, func(s store.Server) bool { return s.ID == server.ID }) {
			list = append(list, server)
		}
	}
	return list, nil
}

// runChoices lists the scripts of the servers' ServerTemplates, operational
// ones first.
func (c *call) runChoices(servers []store.Server) (list []runChoice, err error) {
	seen := map[int64]bool{}
	for _, operational := range []bool{true, false} {
		for _, server := range servers {
			scripts, err := c.fleet.DB.BoundScripts(c.ctx(), server.TemplateID, "")
			if err != nil {
				return nil, err
			}
			for _, s := range scripts {
				if (s.Sequence == "Operational") != operational || seen[s.ID] {
					continue
				}
				seen[s.ID] = true
				list = append(list, runChoice{ID: s.ID, Name: s.Name, Group: s.Sequence})
			}
		}
	}
	return list, nil
}

func (c *call) run() error {
	form := c.r.PostForm
	b, err := c.runBody(form)
	if err != nil {
		return err
	}
	if b.Script == 0 {
		b.Problem = "Choose a script."
		return c.show(http.StatusUnprocessableEntity, "run", "Run a script", b)
	}
	values, err := readInputs(form)
	if text := problem(err); text != "" {
		b.Problem = text
		return c.show(http.StatusUnprocessableEntity, "run", "Run a script", b)
	} else if err != nil {
		return err
	}
	req := fleet.RunRequest{ScriptID: b.Script, Inputs: values, Thread: strings.TrimSpace(b.Thread), By: c.who.Email}
	failures := 0
	for _, server := range b.Servers {
		one := runResult{Server: server}
		one.AuditID, err = c.runOn(server, req)
		if one.Problem = problem(err); err != nil {
			if one.Problem == "" {
				return err
			}
			failures++
		}
		b.Done = append(b.Done, one)
	}
	switch {
	case len(b.Servers) == 1 && failures == 0:
		return c.to(fmt.Sprintf("/audit/%d?done=queued", b.Done[0].AuditID))
	case failures == len(b.Servers):
		b.Problem, b.Done = b.Done[0].Problem, nil
		return c.show(http.StatusUnprocessableEntity, "run", "Run a script", b)
	default:
		return c.show(http.StatusOK, "ran", "Scripts queued", b)
	}
}

// runOn queues a script unless somebody has locked the instance.
func (c *call) runOn(server store.Server, req fleet.RunRequest) (int64, error) {
	if inst, ok, err := c.fleet.CurrentInstance(c.ctx(), server); err != nil {
		return 0, err
	} else if ok {
		if err := c.unlocked(inst); err != nil {
			return 0, err
		}
	}
	return c.fleet.RunScript(c.ctx(), c.account(), server.Name, req)
}
