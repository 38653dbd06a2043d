// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/attest"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// ProofRequest is an agent's request for a bearer token by attestation.
type ProofRequest struct {
	TokenID int64
	// Account is what the agent believes to belong to, 0 when it did not say.
	Account int64
	// Token of the user-data; it counts at the first enrolment only.
	Token secret.String
	Proof wire.Proof
}

// Grant is the answer to a proof.
type Grant struct {
	Bearer secret.String
	// RotateKey asks the agent for a new key.
	RotateKey bool
}

// Prove lets an instance in that proves which one it is: with its token and the
// cloud's document at the first time, with its key and the document ever after.
// ErrUnauthorized means that the caller has neither token nor key; a
// RefusedError that it has, and still may not; that leaves a trace on the server.
func (s *Service) Prove(ctx context.Context, req ProofRequest) (Grant, error) {
	expires, err := s.checkNonce(req.TokenID, req.Proof.Nonce)
	if err != nil {
		return Grant{}, err
	}
	if !signed(req) {
		return Grant{}, ErrUnauthorized
	}
	known, err := s.caller(ctx, &s.DB.Queries, req)
	if err != nil {
		return Grant{}, err // before the costly part, and before any write
	}
	doc, docErr := s.Attest.Trust.Open(req.Proof.Document, req.Proof.DocumentSignature)
	if docErr != nil && !isDocumentError(docErr) {
		return Grant{}, docErr
	}
	var grant Grant
	var refusal error
	err = s.DB.InTxOf(ctx, known.server.ID, func(q *store.Queries) error {
		if err := q.Alone(ctx, oneInstance(doc.InstanceID)); err != nil {
			return err
		}
		c, err := s.caller(ctx, q, req) // again: another proof may have come first
		if err != nil {
			return err
		}
		hash := sha256.Sum256([]byte(req.Proof.Nonce))
		fresh, err := q.UseNonce(ctx, hash[:], expires)
		if err != nil {
			return err
		}
		switch {
		case !fresh:
			refusal = refused("this proof was used before")
		case docErr != nil:
			refusal = refused("%v", docErr)
		default:
			refusal, err = s.judge(ctx, q, c, doc)
		}
		if err != nil {
			return err
		}
		if errors.Is(refusal, errTooEarly) {
			return nil // nothing that anybody has to know
		}
		if refusal != nil {
			return s.refuseProof(ctx, q, c, doc, refusal)
		}
		if grant.RotateKey, err = s.attested(ctx, q, c, doc, req.Proof); err != nil {
			return err
		}
		grant.Bearer, err = s.newBearer(ctx, q, req.TokenID)
		return err
	})
	if err == nil {
		err = refusal
	}
	return grant, err
}

// caller is who sends a proof, as far as token and key tell.
type caller struct {
	token  store.EnrolmentToken
	server store.Server
	// known is the attestation of the token; nil at the first enrolment.
	known *store.Attestation
	// stranger: the token is right, but another key has used it.
	stranger bool
}

// caller finds who knows the token, or the key that the token was used with.
func (s *Service) caller(ctx context.Context, q *store.Queries, req ProofRequest) (caller, error) {
	var c caller
	var err error
	if c.token, err = q.EnrolmentToken(ctx, req.TokenID); err != nil {
		return c, unauthorized(err)
	}
	if c.server, err = q.Server(ctx, c.token.ServerID); err != nil {
		return c, unauthorized(err)
	}
	hash := sha256.Sum256([]byte(req.Token.Reveal()))
	holder := subtle.ConstantTimeCompare(hash[:], c.token.Hash) == 1
	known, err := q.Attestation(ctx, req.TokenID)
	switch {
	case err == nil:
		c.known = &known
	case !errors.Is(err, store.ErrNotFound):
		return c, err
	}
	mine := c.known != nil && (bytes.Equal(known.PublicKey, req.Proof.PublicKey) || len(known.NextKey) > 0 && bytes.Equal(known.NextKey, req.Proof.PublicKey))
	c.stranger = c.known != nil && !mine
	foreign := req.Account != 0 && req.Account != c.server.AccountID
	if !c.token.RevokedAt.IsZero() || foreign || !mine && !holder {
		return c, ErrUnauthorized
	}
	return c, nil
}

// oneInstance names an instance, whichever server it says that it is of.
func oneInstance(uid string) string { return "instance " + uid }

func unauthorized(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnauthorized
	}
	return err
}

// signed checks the form of the proof and that its keys are the sender's.
func signed(req ProofRequest) bool {
	p := req.Proof
	if len(p.PublicKey) != ed25519.PublicKeySize || len(p.NextKey) != 0 && len(p.NextKey) != ed25519.PublicKeySize {
		return false
	}
	message := p.Message(fmt.Sprint(req.TokenID))
	return ed25519.Verify(p.PublicKey, message, p.Signature) &&
		(len(p.NextKey) == 0 || ed25519.Verify(p.NextKey, message, p.NextSignature))
}

func isDocumentError(err error) bool {
	return errors.Is(err, attest.ErrMalformed) || errors.Is(err, attest.ErrUnknown) || errors.Is(err, attest.ErrForged)
}

// attested writes down the enrolment, or what a later proof tells that is new.
func (s *Service) attested(ctx context.Context, q *store.Queries, c caller, doc attest.Document, p wire.Proof) (rotate bool, err error) {
	now := s.Now()
	if c.known == nil {
		a := store.Attestation{TokenID: c.token.ID, InstanceUID: doc.InstanceID, Account: doc.AccountID, Region: doc.Region, Image: doc.ImageID,
			PendingAt: doc.PendingTime, PublicKey: p.PublicKey, NextKey: p.NextKey, KeySince: now, CreatedAt: now}
		if err := errors.Join(q.PutAttestation(ctx, a), q.MarkAttested(ctx, c.token.InstanceID, doc.InstanceID, now)); err != nil {
			return false, err
		}
		if err := s.place(ctx, q, c.token.InstanceID, doc.InstanceID, doc.Region); err != nil {
			return false, err
		}
		return false, s.note(ctx, q, c.server, c.token.InstanceID, fmt.Sprintf("%s attested; token %d is used", doc.InstanceID, c.token.ID), describeDocument(doc, p.PublicKey))
	}
	a := *c.known
	if doc.PendingTime.After(a.PendingAt) {
		a.PendingAt = doc.PendingTime // stopped and started
	}
	switch {
	case bytes.Equal(p.PublicKey, a.NextKey):
		a.PublicKey, a.NextKey, a.KeySince = a.NextKey, nil, now
		if err := s.note(ctx, q, c.server, c.token.InstanceID, a.InstanceUID+" uses its new key", "key: "+Fingerprint(a.PublicKey)+"\n"); err != nil {
			return false, err
		}
	case len(p.NextKey) > 0:
		a.NextKey = p.NextKey
	}
	return now.Sub(a.KeySince) >= s.Attest.keyLifetime(), q.PutAttestation(ctx, a)
}

// refuseProof leaves a trace on the server; a refused agent tries again and
// again, so one entry an hour tells it.
func (s *Service) refuseProof(ctx context.Context, q *store.Queries, c caller, doc attest.Document, why error) error {
	who := doc.InstanceID
	if who == "" {
		who = "an instance without a valid document"
	}
	return s.noteRefusal(ctx, q, c.server, c.token.InstanceID, who, fmt.Sprintf("token: %d\n%s\n%s", c.token.ID, why, describeDocument(doc, nil)))
}

func (s *Service) noteRefusal(ctx context.Context, q *store.Queries, server store.Server, instanceID int64, who, detail string) error {
	summary := cutSummary("enrolment refused: " + who)
	told, err := q.HasAuditSince(ctx, server.ID, summary, s.Now().Add(-time.Hour))
	if err != nil || told {
		return err
	}
	return s.noteAs(ctx, q, server, instanceID, store.AuditEntry{Summary: summary, Notify: "Security"}, detail)
}
