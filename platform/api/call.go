// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// caller is who a request comes from: a person, or an agent.
type caller struct {
	access.Principal
	agent *fleet.Session
}

// call is one request of API 1.5 with its parameters.
type call struct {
	*Server
	r   *http.Request
	w   http.ResponseWriter
	p   *params
	who caller
}

func (c *call) ctx() context.Context { return c.r.Context() }

// by is who changes something.
func (c *call) by() fleet.By { return c.who.by() }

func (who caller) by() fleet.By { return fleet.By{Account: who.AccountID, Who: who.Email} }

// id reads a number of the path.
func (c *call) id(name string) int64 {
	id, err := strconv.ParseInt(chi.URLParam(c.r, name), 10, 64)
	if err != nil || id < 0 {
		if *c.p.first == nil {
			*c.p.first = &parameterError{"the " + name + " in the path is not a number"}
		}
		return 0
	}
	return id
}

// href reads the number at the end of an href parameter, such as
// /api/deployments/3; 0 when it was not sent.
func (p *params) href(field, kind string) int64 {
	text := p.text(field)
	if text == "" {
		return 0
	}
	rest, ok := strings.CutPrefix(text, "/api/"+kind+"/")
	id, err := strconv.ParseInt(rest, 10, 64)
	if !ok || err != nil || id < 0 {
		p.wrong(field, "an href such as /api/"+kind+"/1")
	}
	return id
}

// cloudHref reads an href within a cloud, such as /api/clouds/1/images/ABC.
func (p *params) cloudHref(field, kind string) (cloud int64, uid string) {
	text := p.text(field)
	if text == "" {
		return 0, ""
	}
	parts := strings.Split(text, "/")
	if len(parts) == 6 && parts[0] == "" && parts[1] == "api" && parts[2] == "clouds" && parts[4] == kind && parts[5] != "" {
		if id, err := strconv.ParseInt(parts[3], 10, 64); err == nil {
			return id, parts[5]
		}
	}
	p.wrong(field, "an href such as /api/clouds/1/"+kind+"/ABC123")
	return 0, ""
}

// endpoint answers one request.
type endpoint func(c *call) (reply, error)

// reply is what an endpoint answers.
type reply struct {
	status     int
	media      string // the vnd.rightscale name of body
	collection bool
	body       any    // JSON
	text       string // plain text instead
	location   string
}

// Replies.

func shown(media string, body any) (reply, error) {
	return reply{status: http.StatusOK, media: media, body: body}, nil
}

func created(href string, err error) (reply, error) {
	return reply{status: http.StatusCreated, location: href}, err
}

func accepted(href string, err error) (reply, error) {
	return reply{status: http.StatusAccepted, location: href}, err
}

func done(err error) (reply, error) { return reply{status: http.StatusNoContent}, err }

// answer makes a handler of an endpoint. Parameters that were wrong count even
// if the endpoint did not mind: it must not have done anything before asking.
func (s *Server) answer(e endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !acceptable(r) {
			writeText(w, http.StatusNotAcceptable, "this platform answers in JSON only; send Accept: application/json")
			return
		}
		p, err := readParams(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		c := &call{Server: s, r: r, w: w, p: p, who: callerOf(r)}
		if c.who.agent != nil { // agents' own calls do without
			inst, err := s.fleet.DB.Instance(r.Context(), c.who.InstanceID)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			c.who.AccountID = inst.AccountID
		}
		rep, err := e(c)
		if err == nil {
			err = p.problem()
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, r, rep)
	}
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, rep reply) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case rep.text != "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(rep.text))
	case rep.body != nil:
		media := rep.media
		if rep.collection {
			s.writeCollection(w, r, media, rep.body)
			return
		}
		s.writeJSON(w, r, media, rep.body)
	default:
		if rep.location != "" {
			w.Header().Set("Location", rep.location)
		}
		w.WriteHeader(rep.status)
	}
}

// acceptable tells whether the caller takes JSON.
func acceptable(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if accept == "" {
		return true
	}
	for _, kind := range strings.Split(accept, ",") {
		kind, _, _ = strings.Cut(strings.TrimSpace(kind), ";")
		if kind == "*/*" || kind == "application/*" || strings.HasSuffix(kind, "json") {
			return true
		}
	}
	return false
}

// resource is an object of API 1.5.
type resource map[string]any

// object completes attributes with links and actions.
func object(attributes resource, links []wire.Link, actions ...string) resource {
	attributes["links"] = links
	list := make([]map[string]string, len(actions))
	for i, rel := range actions {
		list[i] = map[string]string{"rel": rel}
	}
	attributes["actions"] = list
	return attributes
}

func link(rel, href string) wire.Link { return wire.Link{Rel: rel, Href: href} }

// view is the view that was asked for.
func (c *call) view(known ...string) string {
	view := c.p.text("view")
	if view == "" {
		return "default"
	}
	for _, name := range append(known, "default") {
		if view == name {
			return view
		}
	}
	c.p.wrong("view", "default"+strings.Join(append([]string{""}, known...), ", "))
	return "default"
}

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }
