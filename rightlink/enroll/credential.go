// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// ErrFallback says that a platform asks an attested instance for its token.
var ErrFallback = errors.New("this instance has enrolled by attestation and does not go back to the token alone")

// Credential answers the platform's question who this instance is, in the way
// that the platform asks for: by attestation, or by the token. It is safe for
// use by several goroutines.
type Credential struct {
	root     paths.Root
	id       identity.Identity
	log      *slog.Logger
	metadata metadata

	mu     sync.Mutex
	doc    *document // of this process's life; it changes with a stop and start only
	legacy bool      // the platform has said so to this process
}

// NewCredential prepares the credential of an identity; nothing is read or
// sent yet.
func NewCredential(root paths.Root, id identity.Identity, log *slog.Logger) *Credential {
	return &Credential{root: root, id: id, log: log, metadata: newMetadata(root)}
}

// Grant asks the platform for a challenge and makes the request that answers it.
func (c *Credential) Grant(ctx context.Context, ask session.Ask) (session.Grant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.legacy {
		return session.TokenGrant(c.id), nil
	}
	k, err := loadKeys(c.root)
	if err != nil {
		return session.Grant{}, err
	}
	challenge, err := c.challenge(ctx, ask)
	if err != nil {
		return session.Grant{}, err
	}
	switch challenge.Enrolment {
	case wire.EnrolLegacy:
		return c.fallBack(ctx, k)
	case wire.EnrolAttested:
		return c.attest(ctx, k, challenge)
	}
	return session.Grant{}, fmt.Errorf("the platform asks for an enrolment that this agent does not know: %q", challenge.Enrolment)
}

// challenge asks how to enrol. A platform without this call knows the original
// way only.
func (c *Credential) challenge(ctx context.Context, ask session.Ask) (wire.Challenge, error) {
	var answer wire.Challenge
	err := ask(ctx, wire.PathChallenge, wire.ChallengeRequest{ClientID: c.id.ClientID}, &answer)
	var e *session.Error
	if errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed) {
		return wire.Challenge{Enrolment: wire.EnrolLegacy}, nil
	}
	return answer, err
}

// fallBack shows the token, unless this instance was attested before. The keys
// of another instance (a copied disk) do not count.
func (c *Credential) fallBack(ctx context.Context, k *keys) (session.Grant, error) {
	if k != nil && k.Attested {
		doc, err := c.document(ctx)
		if err != nil || doc.instanceID == k.InstanceID {
			return session.Grant{}, fmt.Errorf("%w: relaunch the server with \"--enrolment attested\", or launch a new instance", ErrFallback)
		}
	}
	c.legacy = true
	return session.TokenGrant(c.id), nil
}

// attest makes the proof. New keys are saved before they are shown.
func (c *Credential) attest(ctx context.Context, k *keys, challenge wire.Challenge) (session.Grant, error) {
	if challenge.Nonce == "" || strings.ContainsAny(challenge.Nonce, "\r\n") {
		return session.Grant{}, errors.New("the platform's challenge holds no usable nonce")
	}
	doc, err := c.document(ctx)
	if err != nil {
		return session.Grant{}, err
	}
	if !k.isFor(c.id, doc.instanceID) {
		k = newKeys(c.id, doc.instanceID, k)
		if err := k.save(c.root); err != nil {
			return session.Grant{}, fmt.Errorf("save the enrolment key: %w", err)
		}
		c.log.Info("made a key for this instance", "instance", doc.instanceID)
	}
	used, proposed := k.inUse(), k.proposal()
	proof := wire.Proof{
		Nonce: challenge.Nonce, PublicKey: public(used), NextKey: public(proposed),
		Document: doc.text, DocumentSignature: doc.signature,
	}
	message := proof.Message(c.id.ClientID)
	proof.Signature = ed25519.Sign(used, message)
	if proposed != nil {
		proof.NextSignature = ed25519.Sign(proposed, message)
	}
	grant := session.Grant{
		Body:     wire.OAuthRequest{GrantType: wire.GrantProof, ClientID: c.id.ClientID, Proof: &proof},
		Accepted: func(answer wire.OAuthResponse) { c.accepted(*k, used, proposed, answer.RotateKey) },
	}
	if !k.Enrolled {
		grant.Authorization = session.Basic(c.id)
	}
	return grant, nil
}

// accepted saves what the platform's consent means for the keys. Should that
// fail, the next proof repeats what this one said, which the platform accepts.
func (c *Credential) accepted(k keys, used, proposed ed25519.PrivateKey, rotate bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := k.accepted(used, proposed, rotate)
	if err := after.save(c.root); err != nil {
		c.log.Warn("saving the enrolment key", "error", err)
		return
	}
	if after.NextKnown != k.NextKnown || len(after.Next) != len(k.Next) {
		c.log.Info("the enrolment key is being replaced", "proposed", len(after.Next) > 0, "confirmed", after.NextKnown)
	}
}

// document asks the cloud once in the life of this process.
func (c *Credential) document(ctx context.Context) (document, error) {
	if c.doc == nil {
		doc, err := c.metadata.document(ctx)
		if err != nil {
			return document{}, err
		}
		c.doc = &doc
	}
	return *c.doc, nil
}
