// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/router"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// events is the router's view of the fleet.
type events struct{ *fleet.Service }

// ListenEvents hears of events of all replicas.
func (e events) ListenEvents(heard func(instance int64)) (stop func()) {
	return e.DB.Listen(store.TopicEvents, func(text string) {
		instance, _ := strconv.ParseInt(text, 10, 64) // 0 for an empty text
		heard(instance)
	})
}

// EventsAfter tells which instances have got events.
func (e events) EventsAfter(ctx context.Context, after int64) (map[int64]int64, error) {
	return e.DB.EventsAfter(ctx, after)
}

// mailbox is the events of one session.
type mailbox struct {
	fleet  *fleet.Service
	sess   fleet.Session
	bearer secret.String
	host   string
}

func (m mailbox) Events(ctx context.Context) ([]wire.Event, error) {
	return m.fleet.Events(ctx, m.sess, m.host)
}

func (m mailbox) Ack(ctx context.Context, uuid string) error {
	return m.fleet.AckEvent(ctx, m.sess, uuid)
}

func (m mailbox) Valid(ctx context.Context) error {
	_, err := m.fleet.Session(ctx, m.bearer)
	return err
}

func (s *Server) mailbox(r *http.Request) router.Mailbox {
	bearer, _ := bearerToken(r)
	return mailbox{fleet: s.fleet, sess: session(r), bearer: bearer, host: s.host(r)}
}

// connect is the WebSocket of an agent.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	s.hub.Connect(w, r, session(r).Token.InstanceID, s.mailbox(r))
}

// listen is the long poll of an agent that cannot have a WebSocket.
func (s *Server) listen(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	seconds, err := strconv.Atoi(query.Get("wait_time"))
	if text := query.Get("wait_time"); text != "" && (err != nil || seconds < 0) {
		s.fail(w, r, &parameterError{"wait_time is not a number of seconds"})
		return
	}
	box := s.mailbox(r)
	for _, uuid := range query["ack[]"] {
		if err := box.Ack(r.Context(), uuid); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(router.MaxListen + writeTimeout))
	list, err := s.hub.Listen(r.Context(), session(r).Token.InstanceID, box, time.Duration(seconds)*time.Second)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if list == nil {
		list = []wire.Event{}
	}
	s.writeJSON(w, r, "", list)
}

// routerRequest answers the one question that agents ask the router and not
// the API: about tags.
func (s *Server) routerRequest(w http.ResponseWriter, r *http.Request) {
	var req wire.RouterMessage
	var question struct {
		Tags  []string `json:"tags"`
		Hrefs []string `json:"hrefs"`
	}
	err := readBody(r, &req)
	if err == nil && req.Type != "/router/query_tags" && req.Type != "/mapper/query_tags" {
		err = &fleet.InvalidError{Text: "this platform has no " + clip(req.Type) + "; it answers /router/query_tags"}
	}
	if err == nil && len(req.Payload) > 0 && json.Unmarshal(req.Payload, &question) != nil {
		err = &parameterError{"payload wants tags and hrefs, both lists of text"}
	}
	var result map[string]any
	if err == nil {
		result, err = s.fleet.QueryTags(r.Context(), session(r), question.Hrefs, question.Tags)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", result)
}

// routerNotify takes results of requests; nobody waits for them, since all our
// events are pushes.
func (s *Server) routerNotify(w http.ResponseWriter, r *http.Request) {
	var req wire.RouterMessage
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	if req.Type != "Result" {
		s.fail(w, r, &fleet.InvalidError{Text: "an agent may send results only"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
