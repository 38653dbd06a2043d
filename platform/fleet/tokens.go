// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// SessionTime is the life of a bearer token.
const SessionTime = 2 * time.Hour

// issueToken makes the identity of the next instance of a server: an instance
// row, so that its href is known, and the token that will claim it.
func (s *Service) issueToken(ctx context.Context, q *store.Queries, who string, server store.Server) error {
	instance, err := s.newInstance(ctx, q, server)
	if err != nil {
		return err
	}
	_, _, err = s.issueFor(ctx, q, who, server, instance)
	return err
}

func (s *Service) newInstance(ctx context.Context, q *store.Queries, server store.Server) (int64, error) {
	instance, err := q.CreateInstance(ctx, store.Instance{
		AccountID: server.AccountID, CloudID: server.CloudID, ServerID: server.ID, UID: NewUID(), State: wire.StatePending,
	}, s.Now())
	if err != nil {
		return 0, fmt.Errorf("create instance: %w", err)
	}
	return instance, nil
}

// NewUID makes an opaque id for the href of an instance, an image and the like.
func NewUID() string { return strings.ToUpper(randomHex(6)) }

// issueFor makes a token that will claim an instance row that exists, for who
// has asked for it.
func (s *Service) issueFor(ctx context.Context, q *store.Queries, who string, server store.Server, instance int64) (id int64, plain secret.String, err error) {
	token := randomHex(20)
	hash := sha256.Sum256([]byte(token))
	// A token that is shown at every start must be there to be printed again; one
	// that is good for one use is replaced instead.
	sealed := []byte{}
	if server.Enrolment == wire.EnrolLegacy {
		sealed = s.Keys.Seal(tokenPlace(hash[:]), token)
	}
	id, err = q.CreateEnrolmentToken(ctx, store.EnrolmentToken{ServerID: server.ID, InstanceID: instance, Hash: hash[:], Sealed: sealed}, s.Now())
	if err != nil {
		return 0, "", fmt.Errorf("create token: %w", err)
	}
	if err := q.SetAgentID(ctx, id, AgentID(id, token)); err != nil {
		return 0, "", err
	}
	return id, secret.String(token), s.noteBy(ctx, q, who, server, 0, fmt.Sprintf("token %d issued", id), "")
}

func (s *Service) openToken(t store.EnrolmentToken) (secret.String, error) {
	plain, err := s.Keys.Open(tokenPlace(t.Hash), t.Sealed)
	if err != nil {
		return "", fmt.Errorf("token %d: %w", t.ID, err)
	}
	return secret.String(plain), nil
}

// The hash names the row before its id exists.
func tokenPlace(hash []byte) string { return "token " + hex.EncodeToString(hash) }

// AgentID is rs-instance-<SHA-1 of "<id>*<token>">-<id>. The format asks for
// SHA-1; it protects nothing.
func AgentID(id int64, token string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%d*%s", id, token))
	return fmt.Sprintf("rs-instance-%x-%d", sum, id)
}

func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails, see crypto/rand
	return hex.EncodeToString(raw)
}

// Session is an authenticated agent.
type Session struct {
	Token store.EnrolmentToken
	// hash names the bearer token of this session.
	hash []byte
}

// Login checks a token id with its token and returns a fresh bearer token.
// account is what the agent believes to belong to, 0 when it did not say. It is
// the original's enrolment, for servers that were created so.
func (s *Service) Login(ctx context.Context, id, account int64, token secret.String) (bearer secret.String, err error) {
	row, err := s.DB.EnrolmentToken(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	hash := sha256.Sum256([]byte(token.Reveal()))
	same := subtle.ConstantTimeCompare(hash[:], row.Hash) == 1
	if err != nil || !same || !row.RevokedAt.IsZero() {
		return "", ErrUnauthorized
	}
	server, err := s.DB.Server(ctx, row.ServerID)
	if err != nil {
		return "", err
	}
	if account != 0 && account != server.AccountID {
		return "", ErrUnauthorized
	}
	var refusal error
	err = s.DB.InTxOf(ctx, row.ServerID, func(q *store.Queries) (err error) {
		if refusal, err = mayShowToken(ctx, q, row, server); err != nil {
			return err
		}
		if refusal != nil {
			return s.noteRefusal(ctx, q, server, row.InstanceID, "an agent with the token alone", refusal.Error()+"\n")
		}
		bearer, err = s.newBearer(ctx, q, id)
		return err
	})
	if err == nil {
		err = refusal
	}
	return bearer, err
}

// mayShowToken says whether a token alone is enough.
func mayShowToken(ctx context.Context, q *store.Queries, token store.EnrolmentToken, server store.Server) (refusal, err error) {
	known, err := q.Attestation(ctx, token.ID)
	switch {
	case err == nil:
		return refused("token %d was used by %s, which proves its key ever since", token.ID, known.InstanceUID), nil
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	case server.Enrolment != wire.EnrolLegacy:
		return refused("server %q enrols by attestation, and this agent shows its token alone; use a newer RightLink, or create the server with \"--enrolment legacy\"", server.Name), nil
	}
	return nil, nil
}

// newBearer makes a session for a token that was found good.
func (s *Service) newBearer(ctx context.Context, q *store.Queries, tokenID int64) (secret.String, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	plain := base64.RawURLEncoding.EncodeToString(raw)
	now := s.Now()
	return secret.String(plain), q.CreateAccessToken(ctx, bearerHash(plain), tokenID, now.Add(SessionTime), now)
}

func bearerHash(bearer string) []byte {
	sum := sha256.Sum256([]byte(bearer))
	return sum[:]
}

// Session finds who a bearer token belongs to.
func (s *Service) Session(ctx context.Context, bearer secret.String) (Session, error) {
	hash := bearerHash(bearer.Reveal())
	id, err := s.DB.AccessToken(ctx, hash, s.Now())
	if errors.Is(err, store.ErrNotFound) {
		return Session{}, ErrExpired
	}
	if err != nil {
		return Session{}, err
	}
	token, err := s.DB.EnrolmentToken(ctx, id)
	return Session{Token: token, hash: hash}, err
}

// Self returns the instance of a session and its server.
func (s *Service) Self(ctx context.Context, sess Session) (store.Instance, store.Server, error) {
	return self(ctx, &s.DB.Queries, sess)
}

func self(ctx context.Context, q *store.Queries, sess Session) (inst store.Instance, server store.Server, err error) {
	if inst, err = q.Instance(ctx, sess.Token.InstanceID); err != nil {
		return inst, server, err
	}
	server, err = q.Server(ctx, sess.Token.ServerID)
	return inst, server, err
}

// declared is self for calls that an agent may make only as the instance that
// the platform knows.
func declared(ctx context.Context, q *store.Queries, sess Session) (store.Instance, store.Server, error) {
	inst, server, err := self(ctx, q, sess)
	switch {
	case err != nil:
	case inst.DeclaredAt.IsZero():
		err = refused("the instance has not declared itself; call POST /api%s first", wire.PathDeclare)
	case !inst.EndedAt.IsZero():
		err = refused("instance %s is %s", inst.ResourceUID, inst.State)
	}
	return inst, server, err
}
