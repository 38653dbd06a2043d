// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// cloud issues identity documents that the platform of a world believes.
type cloud struct {
	*world
	authority *imds.Authority
}

func (w *world) cloud() cloud {
	w.t.Helper()
	dir := w.t.TempDir()
	authority, err := imds.OpenAuthority(dir)
	require.NoError(w.t, err)
	file := filepath.Join(dir, "certificate.pem")
	require.NoError(w.t, os.WriteFile(file, authority.Certificate(), 0o600))
	w.fleet.Attest.Trust.Files = []string{file}
	return cloud{w, authority}
}

const theAccount = "123456789012"

// machine is an instance that enrols by attestation.
type machine struct {
	*world
	identity
	key, next     ed25519.PrivateKey
	doc, sig, uid string
	// basic sends the token along.
	basic bool
}

func (c cloud) machine(uid string, id identity, change ...func(*imds.Instance)) *machine {
	c.t.Helper()
	i := imds.Instance{ID: uid, ImageID: "ami-1", Account: theAccount, Region: "eu-west-1", LaunchTime: time.Now()}
	for _, f := range change {
		f(&i)
	}
	m := &machine{world: c.world, identity: id, uid: uid, basic: true}
	var err error
	m.doc, m.sig, err = c.authority.Document(i)
	require.NoError(c.t, err)
	m.key = newKey(c.t)
	return m
}

func newKey(t *testing.T) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return key
}

func (w *world) challenge(id string) wire.Challenge {
	w.t.Helper()
	a := w.call("POST", "/api"+wire.PathChallenge, wire.ChallengeRequest{ClientID: id})
	require.Equal(w.t, 200, a.status, a.body)
	var c wire.Challenge
	a.into(w.t, &c)
	return c
}

// proof makes a request; change comes before the signature.
func (m *machine) proof(change ...func(*wire.Proof)) wire.OAuthRequest {
	p := wire.Proof{Nonce: m.challenge(m.id).Nonce, PublicKey: m.key.Public().(ed25519.PublicKey), Document: m.doc, DocumentSignature: m.sig}
	if m.next != nil {
		p.NextKey = m.next.Public().(ed25519.PublicKey)
	}
	for _, f := range change {
		f(&p)
	}
	message := p.Message(m.id)
	p.Signature = ed25519.Sign(m.key, message)
	if m.next != nil {
		p.NextSignature = ed25519.Sign(m.next, message)
	}
	return wire.OAuthRequest{GrantType: wire.GrantProof, ClientID: m.id, AccountID: 1, Proof: &p}
}

func (m *machine) send(req wire.OAuthRequest) answer {
	if m.basic {
		return m.call("POST", "/api/oauth2", req, m.identity.basic)
	}
	return m.call("POST", "/api/oauth2", req)
}

// enter proves and wants the platform's consent.
func (m *machine) enter() (*agent, wire.OAuthResponse) {
	m.t.Helper()
	a := m.send(m.proof())
	require.Equal(m.t, 200, a.status, a.body)
	var o wire.OAuthResponse
	a.into(m.t, &o)
	m.basic = false // never again
	return &agent{world: m.world, identity: m.identity, bearer: o.AccessToken}, o
}

// refused wants a refusal that the server's audit trail tells of, too.
func (m *machine) refused(a answer, text string) {
	m.t.Helper()
	require.Equal(m.t, 403, a.status, a.body)
	require.Contains(m.t, a.body, text)
	entries, err := m.fleet.AuditEntries(context.Background(), fleet.DefaultAccount, "web", 0, 0)
	require.NoError(m.t, err)
	for _, e := range entries {
		if e.Notify == "Security" && strings.HasPrefix(e.Summary, "enrolment refused: ") {
			return
		}
	}
	m.t.Error("the refusal left no trace")
}

func (w *world) attestedServer(change ...func(*fleet.ServerSpec)) identity {
	w.t.Helper()
	spec := fleet.ServerSpec{Name: "web", Template: "Test web"}
	for _, f := range change {
		f(&spec)
	}
	_, err := w.fleet.CreateServer(context.Background(), fleet.DefaultAccount, spec)
	require.NoError(w.t, err)
	return w.identity(spec.Name)
}

const (
	one = "i-0000000000000001"
	two = "i-0000000000000002"
)
