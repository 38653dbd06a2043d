// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package access says who a caller of the platform is and what they may do:
// people with passwords, refresh tokens and sessions, and their roles in an
// account. The API and the dashboard ask here and have no rules of their own.
package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Role is a right, or a bundle of rights, within an account.
type Role string

// The roles. Each of them includes observer.
const (
	// Observer sees everything but secrets.
	Observer Role = "observer"
	// Actor changes servers, instances, deployments, inputs, credentials, tags
	// and audit entries.
	Actor Role = "actor"
	// Designer changes ServerTemplates, RightScripts, MultiCloudImages and what
	// belongs to them.
	Designer Role = "designer"
	// Publisher publishes.
	Publisher Role = "publisher"
	// Operator is the bundle of observer and actor.
	Operator Role = "operator"
	// Admin is all of them, and the only one that manages people and reads
	// credentials.
	Admin Role = "admin"
)

// Roles are all roles, in the order in which people should read them.
var Roles = []Role{Observer, Operator, Actor, Designer, Publisher, Admin}

// includes lists what a role allows besides itself.
var includes = map[Role][]Role{
	Actor:     {Observer},
	Designer:  {Observer},
	Publisher: {Observer},
	Operator:  {Observer, Actor},
	Admin:     {Observer, Actor, Designer, Publisher, Operator},
}

// ParseRoles reads role names and removes doubles.
func ParseRoles(names []string) ([]Role, error) {
	var list []Role
	for _, name := range names {
		role := Role(name)
		if !slices.Contains(Roles, role) {
			return nil, &InvalidError{fmt.Sprintf("role %q: want one of %s", clip(name), roleNames())}
		}
		if !slices.Contains(list, role) {
			list = append(list, role)
		}
	}
	return list, nil
}

func roleNames() string {
	text := ""
	for i, role := range Roles {
		if i > 0 {
			text += ", "
		}
		text += string(role)
	}
	return text
}

// Kinds of a Principal.
const (
	KindUser     = "user"
	KindInstance = "instance"
)

// Principal is an authenticated caller. An instance has no roles: what it may
// do is said where it is allowed.
type Principal struct {
	Kind       string
	UserID     int64
	Email      string
	AccountID  int64
	Roles      []Role
	InstanceID int64 // of KindInstance
	// RefreshID is the refresh token behind a session, 0 for a password.
	RefreshID int64
}

// May tells whether the caller has a right in the account.
func (p Principal) May(action Role) bool {
	return p.Kind == KindUser && slices.ContainsFunc(p.Roles, func(have Role) bool {
		return have == action || slices.Contains(includes[have], action)
	})
}

// Errors that the doors turn into answers. store.ErrNotFound is one more.
var (
	// ErrUnauthorized: email, password or token is wrong, or there is no role in
	// the account. It does not tell which.
	ErrUnauthorized = errors.New("wrong email, password or token, or no role in the account")
	// ErrExpired: the session is unknown or over.
	ErrExpired = errors.New("session is expired or invalid")
)

// InvalidError says what is wrong with a request.
type InvalidError struct{ Text string }

func (e *InvalidError) Error() string { return e.Text }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// Service answers for the people in a database.
type Service struct {
	DB *store.DB
	// Now is the clock; tests replace it.
	Now func() time.Time
	// Cost is that of new passwords. Tests of other things than passwords take
	// one that is next to nothing.
	Cost Cost
}

// New makes a Service that hashes passwords at DefaultCost.
func New(db *store.DB, now func() time.Time) *Service {
	return &Service{DB: db, Now: now, Cost: DefaultCost}
}

// audit writes what was changed about people, and by whom.
func (s *Service) audit(ctx context.Context, q *store.Queries, account, userID int64, by, summary string) error {
	_, err := q.CreateAuditEntry(ctx, store.AuditEntry{AccountID: account, AuditeeHref: UserHref(userID),
		Summary: summary, UserEmail: by, Notify: "Security"}, s.Now())
	return err
}

// UserHref is the href of a person.
func UserHref(id int64) string { return fmt.Sprintf("/api/users/%d", id) }

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
