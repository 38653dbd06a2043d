// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package rltest is a platform in the process of a test: it speaks the agent's
// part of the protocol, notes every call in order, and misbehaves on demand.
package rltest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Fault replaces the answer to one call.
type Fault struct {
	Status int
	Header map[string]string
	Body   string
	// Lose handles the call but breaks the connection instead of answering.
	Lose bool
	// Half handles the call and sends one half of the answer's body.
	Half bool
}

// Platform is the fake. Its fields may be set before the agent starts, and
// through With later.
type Platform struct {
	ClientID, Secret string
	ExpiresIn        int64
	Boot             wire.ExecutableBundle
	Decommission     wire.ExecutableBundle
	// Missing answers the polls for missing inputs, one after another.
	Missing     [][]wire.RightScript
	Attachments map[string]string // digest to content
	// Tags are those of the instance.
	Tags []string
	// Logins is the login policy.
	Logins wire.LoginPolicy
	// Operational are the scripts that the instance may ask for, by name.
	Operational map[string]wire.RightScript
	// NoWebSocket lets agents poll for events only.
	NoWebSocket bool
	// Faults holds, per call ("PUT /api/right_net/state_recorder/record"),
	// what its next invocations meet.
	Faults map[string][]Fault

	mu       sync.Mutex
	server   *httptest.Server
	calls    []string
	tokens   int // given out; all of them are accepted
	revoked  int // but for so many of the first
	recorded string
	records  []wire.StateRecord
	declared []wire.DeclareRequest
	entries  map[string]*Entry
	pending  []wire.Event
	pushed   int
	polls    int
}

// Entry is an audit entry.
type Entry struct {
	Summaries []string
	Text      string
	Offsets   []int64
}

// New starts a platform that ends with the test.
func New(t testing.TB) *Platform {
	p := &Platform{
		ClientID: "4711", Secret: "0123456789abcdef", ExpiresIn: 7200, recorded: wire.StatePending,
		Attachments: map[string]string{}, Faults: map[string][]Fault{}, entries: map[string]*Entry{},
	}
	p.server = httptest.NewTLSServer(p)
	t.Cleanup(p.server.Close)
	return p
}

// With runs f while the platform answers nothing.
func (p *Platform) With(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// Calls returns the calls so far; health checks, challenges and appends are left
// out.
func (p *Platform) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.calls), func(c string) bool {
		return strings.HasSuffix(c, wire.PathHealthCheck) || strings.HasSuffix(c, wire.PathChallenge) || strings.HasSuffix(c, "/append") ||
			strings.HasSuffix(c, wire.PathTagsByResource)
	})
}

// Forget empties the list of calls and records.
func (p *Platform) Forget() {
	p.With(func() { p.calls, p.records = nil, nil })
}

// Records returns the state records that were accepted.
func (p *Platform) Records() []wire.StateRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.records)
}

// Declared returns the declarations.
func (p *Platform) Declared() []wire.DeclareRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.declared)
}

// State returns the recorded state.
func (p *Platform) State() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.recorded
}

// Entry returns a copy of the audit entry with the id.
func (p *Platform) Entry(id string) Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil {
		return Entry{Summaries: slices.Clone(e.Summaries), Text: e.Text, Offsets: slices.Clone(e.Offsets)}
	}
	return Entry{}
}

// ServeHTTP answers the agent.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/router/") {
		p.route(w, r)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	call := r.Method + " " + r.URL.Path
	p.calls = append(p.calls, call)
	var fault Fault
	if queue := p.Faults[call]; len(queue) > 0 {
		fault, p.Faults[call] = queue[0], queue[1:]
	}
	if fault.Status != 0 {
		for k, v := range fault.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(fault.Status)
		_, _ = io.WriteString(w, fault.Body)
		return
	}
	answer := httptest.NewRecorder()
	p.handle(answer, r)
	if fault.Lose {
		panic(http.ErrAbortHandler)
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	body := answer.Body.Bytes()
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.Code)
	if fault.Half {
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

func (p *Platform) handle(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api")
	switch {
	case path == wire.PathHealthCheck:
		w.WriteHeader(http.StatusNoContent)
	case path == wire.PathChallenge:
		send(w, wire.Challenge{Enrolment: wire.EnrolLegacy})
	case path == wire.PathOAuth2:
		p.oauth(w, r)
	case strings.HasPrefix(path, wire.PathAttachments):
		content, ok := p.Attachments[strings.TrimPrefix(path, wire.PathAttachments)]
		if !ok || r.Header.Get("Authorization") != "Bearer att-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, content)
	case !p.accepts(r.Header.Get("Authorization")):
		w.WriteHeader(http.StatusUnauthorized)
	default:
		p.authorized(w, r, path)
	}
}

// Revoke makes the platform forget all tokens given out.
func (p *Platform) Revoke() { p.With(func() { p.revoked = p.tokens }) }

func (p *Platform) accepts(authorization string) bool {
	for n := p.revoked + 1; n <= p.tokens; n++ {
		if authorization == "Bearer "+Token(n) {
			return true
		}
	}
	return false
}

// Token is the nth access token.
func Token(n int) string { return fmt.Sprintf("acc3ss-t0ken-%d", n) }

func (p *Platform) oauth(w http.ResponseWriter, r *http.Request) {
	if id, secret, _ := r.BasicAuth(); id != p.ClientID || secret != p.Secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.tokens++
	send(w, wire.OAuthResponse{AccessToken: Token(p.tokens), ExpiresIn: p.ExpiresIn, TokenType: "bearer", Mode: "http",
		ShardID: 1, RouterURL: p.server.URL + "/router", APIURL: p.server.URL + "/api"})
}

func (p *Platform) authorized(w http.ResponseWriter, r *http.Request, path string) {
	switch path {
	case wire.PathSessionsInstance:
		send(w, wire.Instance{ResourceUID: "i-0123", Links: []wire.Link{{Rel: "self", Href: "/api/clouds/1/instances/ABC"}}})
	case wire.PathDeclare:
		var d wire.DeclareRequest
		_ = json.NewDecoder(r.Body).Decode(&d)
		p.declared = append(p.declared, d)
		send(w, wire.DeclareResponse{AgentID: "rs-instance-x-" + p.ClientID})
	case wire.PathBootBundle:
		send(w, p.Boot)
	case wire.PathDecommissionBundle:
		send(w, p.Decommission)
	case wire.PathMissingAttributes:
		var ready []wire.RightScript
		if len(p.Missing) > 0 {
			ready, p.Missing = p.Missing[0], p.Missing[1:]
		}
		send(w, ready)
	case wire.PathTagsByResource, wire.PathTagsAdd, wire.PathTagsDelete:
		p.tags(w, r, path)
	case wire.PathScheduleScript:
		var req wire.ScheduleRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		p.schedule(w, req)
	case wire.PathShutdown:
		var d wire.Decommission
		_ = json.NewDecoder(r.Body).Decode(&d)
		p.push(wire.ActorScheduleDecommission, d)
		w.WriteHeader(http.StatusNoContent)
	case wire.PathLoginPolicy:
		send(w, p.Logins)
	case wire.PathRecordState:
		p.record(w, r)
	case wire.PathAuditEntries:
		var e wire.AuditEntry
		_ = json.NewDecoder(r.Body).Decode(&e)
		id := fmt.Sprint(7000 + len(p.entries))
		p.entries[id] = &Entry{Summaries: []string{e.Entry.Summary}}
		w.Header().Set("Location", "/api/audit_entries/"+id)
		w.WriteHeader(http.StatusCreated)
	default:
		p.append(w, r, path)
	}
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
