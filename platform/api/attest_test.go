// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func TestAttestedLife(t *testing.T) {
	w := start(t)
	id := w.attestedServer()
	require.Equal(t, wire.EnrolAttested, w.challenge(id.id).Enrolment)
	m := w.cloud().machine(one, id)
	ag, _ := m.enter()
	ag.do("POST", "/api/right_net/booter/declare", wire.DeclareRequest{ResourceUID: two}, 403)
	ag, _ = m.enter() // a renewal, with the key alone
	ag.declare(one).record("booting", "pending", "", 204)
	ag.boot()
	ag.record("operational", "booting", "", 204)
	again, _ := m.enter() // a reboot
	again.declare(one)

	v := w.view("web")
	require.Equal(t, "attested", v.Enrolment)
	require.Equal(t, one, v.Attestation.InstanceID)
	require.Equal(t, theAccount, v.Attestation.Account)
	require.Equal(t, fleet.Fingerprint(m.key.Public().(ed25519.PublicKey)), v.Attestation.Key)
	require.Contains(t, w.trail("web"), one+" attested; token "+id.id+" is used")
	_, err := w.fleet.UserData(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", userdata.FormQuery, "h")
	require.ErrorContains(t, err, "was used by "+one)

	_, err = w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", "")
	require.NoError(t, err)
	require.Equal(t, 401, m.send(m.proof()).status, "the key ends with its token")
	logs := w.logs.String()
	for _, hidden := range []string{id.token, ag.bearer, m.sig[:60]} {
		require.NotContains(t, logs, hidden)
	}
}

func TestReplay(t *testing.T) {
	w := start(t)
	m := w.cloud().machine(one, w.attestedServer())
	first := m.proof()
	require.Equal(t, 200, m.send(first).status)
	m.refused(m.send(first), "used before") // the whole captured exchange, with the token
	m.basic = false
	m.refused(m.send(first), "used before")
	second := m.proof()
	require.Equal(t, 200, m.send(second).status)
	m.refused(m.send(second), "used before")

	// A captured proof is good for no other nonce, and a nonce for no other token.
	second.Proof.Nonce = m.challenge(m.id).Nonce
	require.Equal(t, 401, m.send(second).status)
	foreign := m.proof(func(p *wire.Proof) { p.Nonce = m.challenge("4711").Nonce })
	require.Equal(t, 403, m.send(foreign).status)
	for _, nonce := range []string{"", "x", "1.2.3", strings.Repeat("9", 300)} {
		require.Equal(t, 403, m.send(m.proof(func(p *wire.Proof) { p.Nonce = nonce })).status, nonce)
	}
	late := m.proof()
	w.skew.Store(int64(6 * time.Minute))
	a := m.send(late)
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, "ask for a new one")
	require.Equal(t, 200, m.send(m.proof()).status)
}

func TestDocumentOfAnotherInstance(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	require.NoError(t, w.fleet.Expect(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", store.Expected{Instances: []string{one}}))
	wrong := c.machine(two, id)
	wrong.refused(wrong.send(wrong.proof()), two+" is not the instance that is expected")

	// A document that somebody wrote, or changed.
	forged := c.machine(two, id)
	forged.doc = strings.Replace(forged.doc, two, one, 1)
	forged.refused(forged.send(forged.proof()), "the signature is for another document")
	stranger, err := imds.OpenAuthority(t.TempDir())
	require.NoError(t, err)
	forged.doc, forged.sig, err = stranger.Document(imds.Instance{ID: one, ImageID: "ami-1", Account: theAccount, Region: "eu-west-1", LaunchTime: time.Now()})
	require.NoError(t, err)
	forged.refused(forged.send(forged.proof()), "no known certificate")
	forged.sig = ""
	forged.refused(forged.send(forged.proof()), "cannot be read")

	right := c.machine(one, id)
	right.enter()
	require.ErrorContains(t, w.fleet.Expect(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", store.Expected{}), "was used by "+one)
}

func TestSecondMachineWithTheSameToken(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	first, second := c.machine(one, id), c.machine(two, id)
	first.enter()
	second.refused(second.send(second.proof()), "was used by "+one)
	second.basic = false
	require.Equal(t, 401, second.send(second.proof()).status, "without the token it is nobody")

	// Token after use, on the same machine: with a new key, and alone.
	again := c.machine(one, id)
	again.refused(again.send(again.proof()), "with another key")
	again.refused(w.call("POST", "/api/oauth2", rl6, id.basic), "proves its key ever since")
	require.Equal(t, 200, first.send(first.proof()).status, "none of this disturbs the rightful one")
	first.basic = true
	require.Equal(t, 200, first.send(first.proof()).status, "an agent whose first answer was lost")
}

// The disk of one instance, with its key, in another.
func TestCopiedDisk(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	original := c.machine(one, id)
	original.enter()
	clone := c.machine(two, id)
	clone.key, clone.basic = original.key, false
	clone.refused(clone.send(clone.proof()), "its disk was copied")
	clone.basic = true
	clone.refused(clone.send(clone.proof()), "its disk was copied")
	elsewhere := c.machine(one, id, func(i *imds.Instance) { i.Account = "999999999999" })
	elsewhere.key = original.key
	elsewhere.refused(elsewhere.send(elsewhere.proof()), "its disk was copied")
	original.enter()
}

// Two machines at the same moment: one enrols.
func TestRaceForAToken(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	var entered atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		m := c.machine("i-000000000000001"+itoa(int64(i)), id)
		req := m.proof()
		all.Go(func() {
			if m.send(req).status == 200 {
				entered.Add(1)
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(1), entered.Load())
}

func TestOneInstanceIsOneServer(t *testing.T) {
	w := start(t)
	c := w.cloud()
	c.machine(one, w.attestedServer(func(s *fleet.ServerSpec) { s.Name = "other" })).enter()
	second := c.machine(one, w.attestedServer())
	second.refused(second.send(second.proof()), "has enrolled already")
	_, err := w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "other", "")
	require.NoError(t, err)
	second.enter()
	require.NoError(t, w.fleet.DeleteServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", true))
	c.machine(one, w.identity("other")).enter()
}

func TestNeverBackToTheToken(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	m := c.machine(one, id)
	m.refused(w.call("POST", "/api/oauth2", rl6, id.basic), "--enrolment legacy")
	m.enter()

	// The operator makes the server legacy: that is for the next instance.
	_, err := w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", wire.EnrolLegacy)
	require.NoError(t, err)
	next := w.identity("web")
	require.Equal(t, wire.EnrolLegacy, w.challenge(next.id).Enrolment)
	require.Equal(t, wire.EnrolAttested, w.challenge(id.id).Enrolment, "the old token stays what it was")
	ag := w.login(next)
	m.refused(ag.do("POST", "/api/right_net/booter/declare", wire.DeclareRequest{ResourceUID: one}, 403), "cannot use a token alone")
	w.login(next).declare(two)
	late := c.machine("i-0000000000000003", next)
	late.refused(late.send(late.proof(func(p *wire.Proof) { p.Nonce = m.challenge("0").Nonce })), "nonce")
}

func TestAllowLists(t *testing.T) {
	w := start(t)
	c := w.cloud()
	w.fleet.Attest.Rules.Accounts = []string{theAccount}
	id := w.attestedServer(func(s *fleet.ServerSpec) {
		s.Allow.Regions, s.Allow.Images, s.Expect = []string{"eu-west-1"}, []string{"ami-1"}, []string{one, two}
	})
	for want, change := range map[string]func(*imds.Instance){
		"account 999999999999 is not allowed": func(i *imds.Instance) { i.Account = "999999999999" },
		"region us-east-1 is not allowed":     func(i *imds.Instance) { i.Region = "us-east-1" },
		"image ami-2 is not allowed":          func(i *imds.Instance) { i.ImageID = "ami-2" },
		"was launched 97h0m0s ago":            func(i *imds.Instance) { i.LaunchTime = time.Now().Add(-97 * time.Hour) },
		"in the future":                       func(i *imds.Instance) { i.LaunchTime = time.Now().Add(time.Hour) },
		"not the instance that is expected":   func(i *imds.Instance) { i.ID = "i-0000000000000003" },
	} {
		m := c.machine(one, id, change)
		m.refused(m.send(m.proof()), want)
	}
	c.machine(two, id).enter()

	w.fleet.Attest.RequireExpected = true
	m := c.machine(one, w.attestedServer(func(s *fleet.ServerSpec) { s.Name = "second" }), func(i *imds.Instance) { i.LaunchTime = time.Now().Add(-1000 * time.Hour) })
	require.Contains(t, m.send(m.proof()).body, "no instance is expected")
	require.NoError(t, w.fleet.Expect(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "second", store.Expected{Instances: []string{one}, AnyAge: true}))
	m.enter()
}

// A stop and start makes a newer document; an older one is then refused.
func TestOlderDocument(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	m := c.machine(one, id)
	m.enter()
	started := c.machine(one, id, func(i *imds.Instance) { i.LaunchTime = time.Now().Add(time.Minute) })
	started.key = m.key
	started.enter()
	m.refused(m.send(m.proof()), "older than one that was shown before")
}

func TestWhoHasNeitherTokenNorKey(t *testing.T) {
	w := start(t)
	c := w.cloud()
	id := w.attestedServer()
	guess := c.machine(one, identity{id.id, "guess"})
	require.Equal(t, 401, guess.send(guess.proof()).status)
	stolen := c.machine(one, id)
	req := stolen.proof()
	req.Proof.PublicKey = newKey(t).Public().(ed25519.PublicKey)
	require.Equal(t, 401, stolen.send(req).status, "a key that did not sign")
	stolen.next = newKey(t)
	req = stolen.proof()
	req.Proof.NextSignature = req.Proof.Signature
	require.Equal(t, 401, stolen.send(req).status, "a next key that did not sign")
	require.NotContains(t, w.trail("web"), "refused", "strangers cannot fill the audit trail")

	ok := c.machine(one, id)
	for name, tc := range map[string]struct {
		change func(*wire.OAuthRequest)
		want   int
	}{
		"account":  {func(r *wire.OAuthRequest) { r.AccountID = 77 }, 401},
		"no proof": {func(r *wire.OAuthRequest) { r.Proof = nil }, 400},
		"no key":   {func(r *wire.OAuthRequest) { r.Proof.PublicKey = nil }, 401},
		"long key": {func(r *wire.OAuthRequest) { r.Proof.PublicKey = make([]byte, 64) }, 401},
	} {
		w.skew.Add(int64(2 * attempts.Window)) // wrong tokens are limited
		req := ok.proof()
		tc.change(&req)
		require.Equal(t, tc.want, ok.send(req).status, name)
	}
	for _, body := range []any{nil, "{}", `{"client_id":"x"}`, `{"client_id":"-0"}`, `{"client_id":7}`} {
		require.Equal(t, http.StatusBadRequest, w.call("POST", "/api"+wire.PathChallenge, body).status, body)
	}
}

func TestKeyRotation(t *testing.T) {
	w := start(t)
	m := w.cloud().machine(one, w.attestedServer())
	m.enter()
	_, o := m.enter()
	require.False(t, o.RotateKey)
	w.skew.Store(int64(fleet.DefaultKeyLifetime + time.Minute))
	_, o = m.enter()
	require.True(t, o.RotateKey)

	old, next := m.key, newKey(t)
	m.next = next
	m.enter() // proposes
	m.enter() // and again, should the answer have been lost
	m.next = nil
	m.enter() // the old one is still good
	m.key = next
	_, o = m.enter()
	require.False(t, o.RotateKey)
	require.Equal(t, fleet.Fingerprint(next.Public().(ed25519.PublicKey)), w.view("web").Attestation.Key)
	require.Contains(t, w.trail("web"), one+" uses its new key")
	m.key = old
	require.Equal(t, 401, m.send(m.proof()).status, "the old one ends when the new one is used")
	m.key = next
	m.enter()
}
