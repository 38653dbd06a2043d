// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket/wsjson"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// host is the name under which the agents know the platform; which replica it
// leads to, the way decides.
const host = "storm.test"

// way leads agents to the replicas that are there, as several addresses of one
// name do: to one of them by chance, and if that does not answer, to the next.
type way struct{ addresses atomic.Pointer[[]string] }

func (w *way) set(addresses []string) { w.addresses.Store(&addresses) }

func (w *way) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	list := *w.addresses.Load()
	var errs []error
	first := rand.IntN(len(list))
	for i := range list {
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, list[(first+i)%len(list)])
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// agent is one simulated RightLink. Its session is that of the real agent, with
// the real rules for trying again.
type agent struct {
	name    string // of its server
	uid     string // of its instance
	session *session.Session
	rest    *http.Transport
	record  *record
	chance  func() float64
	sleep   clock.Clock

	// connected is set while it can get events.
	connected atomic.Bool
}

// machine is what an agent finds on its instance.
type machine struct {
	server  string
	id      identity.Identity
	uid     string
	doc     string
	sig     string
	release string // of RightLink
}

func newAgent(m machine, w *way, roots *x509.CertPool, r *record, c clock.Clock) (*agent, error) {
	a := &agent{name: m.server, uid: m.uid, record: r, chance: rand.Float64, sleep: c}
	a.rest = &http.Transport{
		DialContext:           w.dial,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   35 * time.Second,
		ResponseHeaderTimeout: 35 * time.Second,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       5 * time.Second,
		ForceAttemptHTTP2:     true,
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	a.session, err = session.New(session.Options{
		Identity: m.id, Version: m.release, Transport: &timed{a.rest, r}, Clock: c,
		Credential: &credential{machine: m, key: key},
	})
	return a, err
}

// boot does what RightLink does from its start to "operational".
func (a *agent) boot(ctx context.Context) error {
	began := time.Now()
	if err := a.session.Connect(ctx, session.RunPolicy()); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"self", func() error { _, err := a.session.SelfHref(ctx); return err }},
		{"declare", func() error {
			_, err := a.session.Declare(ctx, wire.DeclareRequest{ResourceUID: a.uid, Cloud: "ec2", ImageUID: "ami-1", PrivateAddresses: []string{"10.0.0.1"}})
			return err
		}},
		{"booting", func() error { return a.session.Record(ctx, wire.StateRecord{State: wire.StateBooting}) }},
		{"scripts", func() error { return a.scripts(ctx) }},
		{"operational", func() error { return a.session.Record(ctx, wire.StateRecord{State: wire.StateOperational}) }},
	}
	for _, s := range steps {
		if err := a.persist(ctx, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	a.record.boot(time.Since(began))
	a.rest.CloseIdleConnections()
	return nil
}

// persist repeats a call while the platform is away, as the agent does.
func (a *agent) persist(ctx context.Context, call func() error) error {
	for {
		err := call()
		class := session.ClassOf(err)
		if err == nil || ctx.Err() != nil || class != session.NotResponding && class != session.Throttled {
			return err
		}
		wait := session.Schedule{First: 15 * time.Second, Factor: 1, Max: 15 * time.Second}.Wait(0, a.chance(), 0)
		if err := a.sleep.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// output is what a boot script prints.
var output = string(bytes.Repeat([]byte("Setting up things, as scripts do at boot ...\n"), 20))

// scripts gets the boot bundle and writes the audit of running it.
func (a *agent) scripts(ctx context.Context) error {
	bundle, err := a.session.BootBundle(ctx, 0)
	if err != nil {
		return err
	}
	if len(bundle.Executables) == 0 {
		return errors.New("the boot bundle is empty")
	}
	if err := a.session.AppendAudit(ctx, bundle.AuditID, wire.AuditAppend{Summary: "Running: boot", Detail: output, Offset: 0}); err != nil {
		return err
	}
	return a.session.AppendAudit(ctx, bundle.AuditID, wire.AuditAppend{Summary: "Completed: boot", Detail: output, Offset: int64(len(output))})
}

// serve receives events until ctx ends, and connects again as the agent does.
func (a *agent) serve(ctx context.Context) {
	again := session.Schedule{First: time.Second, Factor: 2, Max: time.Minute}
	for failures := 0; ctx.Err() == nil; failures++ {
		if err := a.receive(ctx); err == nil {
			failures = 0
		}
		a.record.connected(a, false)
		_ = a.sleep.Sleep(ctx, again.Wait(failures, a.chance(), 0))
	}
}

// receive takes events over one connection; an error is one of connecting.
func (a *agent) receive(ctx context.Context) error {
	conn, err := a.session.DialRouter(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	a.record.connected(a, true)
	for {
		var e wire.Event
		if err := wsjson.Read(ctx, conn, &e); err != nil {
			return nil // the connection was good until now
		}
		a.record.event(e)
		if err := wsjson.Write(ctx, conn, wire.Ack{Ack: e.UUID}); err != nil {
			return nil // likewise
		}
	}
}

// credential proves the agent's key and shows the document of its instance.
type credential struct {
	machine
	key      ed25519.PrivateKey
	accepted atomic.Bool
}

// Grant asks how to enrol, and does so.
func (c *credential) Grant(ctx context.Context, ask session.Ask) (session.Grant, error) {
	var how wire.Challenge
	if err := ask(ctx, wire.PathChallenge, wire.ChallengeRequest{ClientID: c.id.ClientID}, &how); err != nil {
		return session.Grant{}, err
	}
	if how.Enrolment == wire.EnrolLegacy {
		return session.TokenGrant(c.id), nil
	}
	proof := wire.Proof{Nonce: how.Nonce, PublicKey: c.key.Public().(ed25519.PublicKey), Document: c.doc, DocumentSignature: c.sig}
	proof.Signature = ed25519.Sign(c.key, proof.Message(c.id.ClientID))
	grant := session.Grant{
		Body:     wire.OAuthRequest{GrantType: wire.GrantProof, ClientID: c.id.ClientID, Proof: &proof},
		Accepted: func(wire.OAuthResponse) { c.accepted.Store(true) },
	}
	if !c.accepted.Load() {
		grant.Authorization = session.Basic(c.id)
	}
	return grant, nil
}

// timed measures requests.
type timed struct {
	next   http.RoundTripper
	record *record
}

// RoundTrip sends one request.
func (t *timed) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.next.RoundTrip(r)
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	if status != http.StatusSwitchingProtocols {
		t.record.request(status, time.Since(began))
	}
	return resp, err
}

// auditOf is the audit entry of a pushed script.
func auditOf(e wire.Event) int64 {
	var b wire.ExecutableBundle
	if json.Unmarshal(e.Data, &b) != nil {
		return 0
	}
	return b.AuditID
}

// hasty is a clock whose waits are shorter, for tests.
type hasty struct {
	clock.Real
	factor time.Duration
}

// Sleep waits for a part of d.
func (h hasty) Sleep(ctx context.Context, d time.Duration) error {
	return h.Real.Sleep(ctx, d/h.factor)
}
