// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const maxEmail = 255

var emailForm = regexp.MustCompile(`^[^\x00-\x20\x7f@<>"]+@[^\x00-\x20\x7f@<>"]+$`)

func normalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// NewUser is a person to add to an account.
type NewUser struct {
	Email string
	// Password may be empty: then the person has refresh tokens only.
	Password secret.String
	Roles    []Role
}

// AddUser adds a person to an account; by says who does it. A person of another
// account keeps the password and gets the roles here too.
func (s *Service) AddUser(ctx context.Context, account int64, u NewUser, by string) (id int64, err error) {
	email := normalEmail(u.Email)
	if len(email) > maxEmail || !emailForm.MatchString(email) {
		return 0, invalid("email %q: want name@host", clip(email))
	}
	if len(u.Roles) == 0 {
		return 0, invalid("user %q needs a role: %s", email, roleNames())
	}
	hash := ""
	if u.Password != "" {
		if err := checkPassword(u.Password); err != nil {
			return 0, err
		}
		hash = s.Cost.hash(u.Password)
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		known, err := q.UserByEmail(ctx, email, account)
		switch {
		case err == nil && (len(known.Roles) > 0 || hash != ""):
			return invalid("user %q exists already; change the roles with \"user roles\", the password with \"user passwd\"", email)
		case err == nil:
			id = known.ID
		case !errors.Is(err, store.ErrNotFound):
			return err
		default:
			if id, err = q.CreateUser(ctx, email, hash, s.Now()); err != nil {
				return err
			}
		}
		if err := q.SetRoles(ctx, id, account, texts(u.Roles)); err != nil {
			return err
		}
		return s.audit(ctx, q, account, id, by, fmt.Sprintf("user %s added as %s", email, strings.Join(texts(u.Roles), ", ")))
	})
	return id, err
}

func texts(roles []Role) []string {
	list := make([]string, len(roles))
	for i, role := range roles {
		list[i] = string(role)
	}
	slices.Sort(list)
	return list
}

// Users lists the people of an account.
func (s *Service) Users(ctx context.Context, account int64) ([]store.User, error) {
	return s.DB.Users(ctx, account)
}

// change runs fn on a person of the account and refuses to leave the account
// without an admin.
func (s *Service) change(ctx context.Context, account int64, email, by string, fn func(*store.Queries, store.User) (summary string, err error)) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		u, err := q.UserByEmail(ctx, normalEmail(email), account)
		if err == nil && len(u.Roles) == 0 {
			err = fmt.Errorf("user %q: %w", clip(email), store.ErrNotFound)
		}
		if err != nil {
			return err
		}
		summary, err := fn(q, u)
		if err != nil {
			return err
		}
		if slices.Contains(u.Roles, string(Admin)) {
			left, err := q.Users(ctx, account)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(left, func(other store.User) bool { return slices.Contains(other.Roles, string(Admin)) }) {
				return invalid("%q is the last admin of the account; make another one first", u.Email)
			}
		}
		return s.audit(ctx, q, account, u.ID, by, summary)
	})
}

// SetRoles replaces a person's roles in an account.
func (s *Service) SetRoles(ctx context.Context, account int64, email string, roles []Role, by string) error {
	if len(roles) == 0 {
		return invalid("user %q needs a role: %s; use \"user remove\" to shut a person out", clip(email), roleNames())
	}
	return s.change(ctx, account, email, by, func(q *store.Queries, u store.User) (string, error) {
		return fmt.Sprintf("user %s is %s from now on", u.Email, strings.Join(texts(roles), ", ")), q.SetRoles(ctx, u.ID, account, texts(roles))
	})
}

// SetPassword replaces a password and ends the sessions that the old one began.
func (s *Service) SetPassword(ctx context.Context, account int64, email string, password secret.String, by string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	hash := s.Cost.hash(password)
	return s.change(ctx, account, email, by, func(q *store.Queries, u store.User) (string, error) {
		return fmt.Sprintf("password of user %s changed", u.Email), q.SetPassword(ctx, u.ID, hash, s.Now())
	})
}

// RemoveUser takes a person out of an account; with the last account the person
// goes. Sessions and refresh tokens there end at once.
func (s *Service) RemoveUser(ctx context.Context, account int64, email, by string) error {
	return s.change(ctx, account, email, by, func(q *store.Queries, u store.User) (string, error) {
		summary := fmt.Sprintf("user %s removed", u.Email)
		if err := q.SetRoles(ctx, u.ID, account, nil); err != nil {
			return "", err
		}
		tokens, err := q.RefreshTokens(ctx, u.ID, account)
		if err != nil {
			return "", err
		}
		for _, t := range tokens {
			if _, err := q.DeleteRefreshToken(ctx, u.ID, account, t.ID); err != nil {
				return "", err
			}
		}
		left, err := q.AccountsOfUser(ctx, u.ID)
		if err == nil && len(left) == 0 {
			err = q.DeleteUser(ctx, u.ID)
		}
		return summary, err
	})
}

// NewRefreshToken makes a token for a program that acts as the person.
func (s *Service) NewRefreshToken(ctx context.Context, account int64, email, name, by string) (plain secret.String, err error) {
	if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", invalid("token name %q: want 1 to 255 printable characters", clip(name))
	}
	plain = newSecret(refreshPrefix)
	return plain, s.change(ctx, account, email, by, func(q *store.Queries, u store.User) (string, error) {
		id, err := q.CreateRefreshToken(ctx, store.RefreshToken{UserID: u.ID, AccountID: account, Name: name}, hashOf(plain), s.Now())
		return fmt.Sprintf("refresh token %d (%s) of user %s issued", id, name, u.Email), err
	})
}

// RefreshTokens lists a person's tokens in an account.
func (s *Service) RefreshTokens(ctx context.Context, account int64, email string) ([]store.RefreshToken, error) {
	u, err := s.DB.UserByEmail(ctx, normalEmail(email), account)
	if err != nil {
		return nil, err
	}
	return s.DB.RefreshTokens(ctx, u.ID, account)
}

// RevokeRefreshToken ends a token and the sessions that it began.
func (s *Service) RevokeRefreshToken(ctx context.Context, account int64, email string, id int64, by string) error {
	return s.change(ctx, account, email, by, func(q *store.Queries, u store.User) (string, error) {
		found, err := q.DeleteRefreshToken(ctx, u.ID, account, id)
		if err == nil && !found {
			err = fmt.Errorf("refresh token %d of user %q: %w", id, u.Email, store.ErrNotFound)
		}
		return fmt.Sprintf("refresh token %d of user %s revoked", id, u.Email), err
	})
}
