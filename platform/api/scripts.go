// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (c *call) scriptResource(s store.RightScript) resource {
	href := fleet.RightScriptHref(s.ID)
	return object(resource{"id": itoa64(s.ID), "name": s.Name, "description": s.Description, "revision": s.Revision,
		"lineage": c.lineage("right_scripts", s.ID, s.LineageID), "created_at": wire.FormatTime(s.CreatedAt), "updated_at": wire.FormatTime(s.UpdatedAt)},
		[]wire.Link{link("self", href), link("source", href+"/source")})
}

// declared writes the inputs that a script declares, in the words of API 1.5.
func declared(inputs []rightscript.Input) []resource {
	list := make([]resource, len(inputs))
	for i, in := range inputs {
		possible := []string{}
		for _, v := range in.PossibleValues {
			possible = append(possible, v.String())
		}
		r := resource{"name": in.Name, "kind": in.Type, "required": in.Required, "advanced": in.Advanced, "category_name": in.Category,
			"description": in.Description, "possible_values": possible, "default_value": nil}
		if !in.Default.IsZero() {
			r["default_value"] = in.Default.String()
		}
		list[i] = r
	}
	return list
}

func (c *call) scripts() (reply, error) {
	latest := c.p.flag("latest_only")
	all, err := c.fleet.DB.RightScripts(c.ctx(), c.who.AccountID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, 0, len(all))
	for i, s := range all {
		if latest && i+1 < len(all) && all[i+1].Name == s.Name {
			continue // a higher revision follows
		}
		list = append(list, c.scriptResource(s))
	}
	return c.index("right_script", list, "name", "description", "lineage", "revision")
}

// theScript finds the script of the path.
func (c *call) theScript() (s store.RightScript, err error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return s, err
	}
	return c.fleet.DB.Script(c.ctx(), c.who.AccountID, id)
}

func (c *call) script() (reply, error) {
	view := c.view("inputs", "inputs_2_0")
	s, err := c.theScript()
	if err != nil {
		return reply{}, err
	}
	r := c.scriptResource(s)
	r["packages"] = s.Packages
	if view != "default" {
		r["inputs"] = declared(s.Inputs)
	}
	return shown("right_script", r)
}

func scriptPatch(p *params) fleet.ScriptPatch {
	return fleet.ScriptPatch{Name: p.opt("name"), Description: p.opt("description"), Packages: p.opt("packages"), Source: p.opt("source")}
}

func (c *call) createScript() (reply, error) {
	p := c.p.sub("right_script")
	p.need("name")
	p.need("source")
	patch := scriptPatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateScript(c.ctx(), c.by(), patch)
	return created(fleet.RightScriptHref(id), err)
}

func (c *call) updateScript() (reply, error) {
	patch, id := scriptPatch(c.p.sub("right_script")), c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateScript(c.ctx(), c.by(), id, patch))
}

func (c *call) deleteScript() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteScript(c.ctx(), c.by(), id))
}

func (c *call) commitScript() (reply, error) {
	id, message := c.id("id"), c.p.sub("right_script").need("commit_message")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	revision, err := c.fleet.CommitScript(c.ctx(), c.by(), id, message)
	return created(fleet.RightScriptHref(revision), err)
}

func (c *call) scriptSource() (reply, error) {
	s, err := c.theScript()
	if err == nil && s.Source == "" {
		return reply{status: http.StatusOK, media: "right_script_source", body: ""}, nil
	}
	return reply{status: http.StatusOK, text: s.Source}, err
}

// setScriptSource takes the source as the body itself, in any wrapping.
func (s *Server) setScriptSource(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, r: r, w: w, p: &params{first: new(error)}, who: callerOf(r)}
	id := c.id("id")
	err := c.p.problem()
	var raw []byte
	if err == nil {
		raw, err = readAll(r)
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && strings.HasPrefix(kind, "multipart/") {
		err = &parameterError{"send the source itself as text/plain"}
	}
	if err == nil && (len(raw) > servertemplate.MaxSource || !utf8.Valid(raw)) {
		err = &parameterError{fmt.Sprintf("the source must be UTF-8 text of at most %d bytes", servertemplate.MaxSource)}
	}
	if err == nil {
		text := string(raw)
		err = s.fleet.UpdateScript(r.Context(), c.by(), id, fleet.ScriptPatch{Source: &text})
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
