// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// SessionTime is the life of an API session.
const SessionTime = 2 * time.Hour

// Secrets of people begin with these, so that they are not mistaken for those
// of instances, nor for each other. No base64 holds a dot.
const (
	sessionPrefix = "user."
	refreshPrefix = "refresh."
)

// IsUserSecret tells whether a bearer token belongs to a person.
func IsUserSecret(bearer secret.String) bool {
	return strings.HasPrefix(bearer.Reveal(), sessionPrefix)
}

func newSecret(prefix string) secret.String {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails, see crypto/rand
	return secret.String(prefix + base64.RawURLEncoding.EncodeToString(raw))
}

func hashOf(s secret.String) []byte {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return sum[:]
}

// Login checks a password. account 0 means the first account of the person. The
// caller limits how often it is tried; an unknown address takes as long as a
// known one.
func (s *Service) Login(ctx context.Context, email string, password secret.String, account int64) (Principal, error) {
	email = normalEmail(email)
	if len(password.Reveal()) > maxPassword || len(email) > maxEmail {
		return Principal{}, ErrUnauthorized
	}
	u, err := s.DB.UserByEmail(ctx, email, account)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Principal{}, err
	}
	hash := u.Password
	if hash == "" {
		hash = s.Cost.unknown()
	}
	if same := samePassword(password, hash); !same || u.Password == "" {
		return Principal{}, ErrUnauthorized
	}
	if account == 0 {
		accounts, err := s.DB.AccountsOfUser(ctx, u.ID)
		if err != nil {
			return Principal{}, err
		}
		if len(accounts) == 0 {
			return Principal{}, ErrUnauthorized
		}
		account = accounts[0].ID
	}
	return s.principal(ctx, u.ID, account, 0, ErrUnauthorized)
}

// Refresh checks a refresh token. account 0 means that of the token.
func (s *Service) Refresh(ctx context.Context, token secret.String, account int64) (Principal, error) {
	if !strings.HasPrefix(token.Reveal(), refreshPrefix) || len(token.Reveal()) > maxEmail {
		return Principal{}, ErrUnauthorized
	}
	t, err := s.DB.RefreshToken(ctx, hashOf(token))
	if errors.Is(err, store.ErrNotFound) || err == nil && account != 0 && account != t.AccountID {
		return Principal{}, ErrUnauthorized
	}
	if err != nil {
		return Principal{}, err
	}
	p, err := s.principal(ctx, t.UserID, t.AccountID, t.ID, ErrUnauthorized)
	if err != nil {
		return p, err
	}
	return p, s.DB.InTx(ctx, func(q *store.Queries) error { return q.UseRefreshToken(ctx, t.ID, s.Now()) })
}

// Switch is the same person in another account, with the roles there.
func (s *Service) Switch(ctx context.Context, p Principal, account int64) (Principal, error) {
	if p.Kind != KindUser {
		return Principal{}, ErrUnauthorized
	}
	return s.principal(ctx, p.UserID, account, 0, ErrUnauthorized)
}

// principal reads the roles of the moment; without any, the caller is nobody.
func (s *Service) principal(ctx context.Context, userID, account, refresh int64, nobody error) (Principal, error) {
	u, err := s.DB.User(ctx, userID, account)
	if errors.Is(err, store.ErrNotFound) || err == nil && len(u.Roles) == 0 {
		return Principal{}, nobody
	}
	p := Principal{Kind: KindUser, UserID: u.ID, Email: u.Email, AccountID: account, RefreshID: refresh}
	for _, role := range u.Roles {
		p.Roles = append(p.Roles, Role(role))
	}
	return p, err
}

// StartSession makes a session of a person who has just logged in. The secret
// is good as a cookie and as a bearer token.
func (s *Service) StartSession(ctx context.Context, p Principal, ttl time.Duration) (plain secret.String, err error) {
	if p.Kind != KindUser {
		return "", errors.New("a session is for a person")
	}
	plain, now := newSecret(sessionPrefix), s.Now()
	row := store.UserSession{UserID: p.UserID, AccountID: p.AccountID, RefreshID: p.RefreshID, ExpiresAt: now.Add(ttl)}
	return plain, s.DB.InTx(ctx, func(q *store.Queries) error { return q.CreateUserSession(ctx, row, hashOf(plain), now) })
}

// Session finds who a secret belongs to, with the roles of the moment.
func (s *Service) Session(ctx context.Context, plain secret.String) (Principal, error) {
	if !IsUserSecret(plain) {
		return Principal{}, ErrExpired
	}
	row, err := s.DB.UserSession(ctx, hashOf(plain), s.Now())
	if errors.Is(err, store.ErrNotFound) {
		return Principal{}, ErrExpired
	}
	if err != nil {
		return Principal{}, err
	}
	return s.principal(ctx, row.UserID, row.AccountID, row.RefreshID, ErrExpired)
}

// EndSession logs out.
func (s *Service) EndSession(ctx context.Context, plain secret.String) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error { return q.DeleteUserSession(ctx, hashOf(plain)) })
}
