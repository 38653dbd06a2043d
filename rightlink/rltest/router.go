// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rltest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Push queues an event for the agent and returns its id.
func (p *Platform) Push(path string, data any) (uuid string) {
	p.With(func() { uuid = p.push(path, data) })
	return uuid
}

func (p *Platform) push(path string, data any) string {
	raw, _ := json.Marshal(data)
	p.pushed++
	e := wire.Event{UUID: fmt.Sprintf("event-%d", p.pushed), Type: wire.EventPush, Path: path, Data: raw}
	p.pending = append(p.pending, e)
	return e.UUID
}

// Waiting returns how many events are not acknowledged, and how often the agent
// has polled.
func (p *Platform) Waiting() (events, polls int) {
	p.With(func() { events, polls = len(p.pending), p.polls })
	return events, polls
}

func (p *Platform) ack(uuid string) {
	p.With(func() {
		p.pending = slices.DeleteFunc(p.pending, func(e wire.Event) bool { return e.UUID == uuid })
	})
}

func (p *Platform) waiting() (list []wire.Event) {
	p.With(func() { list = slices.Clone(p.pending) })
	return list
}

// route is the router. It waits, so it must not hold the lock.
func (p *Platform) route(w http.ResponseWriter, r *http.Request) {
	accepted, none := false, false
	p.With(func() { accepted, none = p.accepts(r.Header.Get("Authorization")), p.NoWebSocket })
	switch path := strings.TrimPrefix(r.URL.Path, "/router"); {
	case !accepted:
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get(wire.HeaderAPIVersion) != wire.RouterVersion:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case path == wire.PathConnect && !none:
		p.socket(w, r)
	case path == wire.PathListen:
		p.With(func() { p.polls++ })
		for _, uuid := range r.URL.Query()["ack[]"] {
			p.ack(uuid)
		}
		for range 50 {
			if len(p.waiting()) > 0 || r.Context().Err() != nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		send(w, append([]wire.Event{}, p.waiting()...))
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

func (p *Platform) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	go func() {
		defer cancel()
		for {
			var a wire.Ack
			if wsjson.Read(ctx, conn, &a) != nil {
				return
			}
			p.ack(a.Ack)
		}
	}()
	sent := map[string]bool{}
	for ctx.Err() == nil {
		for _, e := range p.waiting() {
			if !sent[e.UUID] && wsjson.Write(ctx, conn, e) != nil {
				return
			}
			sent[e.UUID] = true
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (p *Platform) tags(w http.ResponseWriter, r *http.Request, path string) {
	var req wire.TagsRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	switch path {
	case wire.PathTagsAdd:
		p.Tags = append(p.Tags, req.Tags...)
		w.WriteHeader(http.StatusNoContent)
	case wire.PathTagsDelete:
		p.Tags = slices.DeleteFunc(p.Tags, func(t string) bool { return slices.Contains(req.Tags, t) })
		w.WriteHeader(http.StatusNoContent)
	default:
		answer := wire.TaggedResource{Links: []wire.Link{{Rel: "resource", Href: req.ResourceHrefs[0]}}}
		for _, t := range p.Tags {
			answer.Tags = append(answer.Tags, wire.Tag{Name: t})
		}
		send(w, []wire.TaggedResource{answer})
	}
}

// schedule sends an operational script back to the instance that asked for it.
func (p *Platform) schedule(w http.ResponseWriter, req wire.ScheduleRequest) {
	s, ok := p.Operational[req.RightScript]
	if !ok {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, "no operational script %q", req.RightScript)
		return
	}
	id := int64(8000 + p.pushed)
	p.entries[fmt.Sprint(id)] = &Entry{}
	params := map[string]string{}
	for name, value := range req.Arguments {
		params[name] = strings.TrimPrefix(value, "text:")
	}
	s.Parameters = params
	p.push(wire.ActorScheduleBundle, wire.ExecutableBundle{Executables: []wire.RightScript{s}, AuditID: id, Policy: wire.RunlistPolicy{ThreadName: req.Thread}})
	w.Header().Set("Location", fmt.Sprintf("/api/audit_entries/%d", id))
	w.WriteHeader(http.StatusNoContent)
}

// Resend sends an event with an id of before.
func (p *Platform) Resend(uuid, path string, data any) {
	p.With(func() {
		p.push(path, data)
		p.pending[len(p.pending)-1].UUID = uuid
	})
}
