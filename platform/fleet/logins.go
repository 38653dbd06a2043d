// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// userName is what every distribution's useradd takes.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// SetLoginUser lets a person log in to all instances of the account whose agent
// manages logins, and tells those agents.
func (s *Service) SetLoginUser(ctx context.Context, by By, u store.LoginUser) error {
	if !userName.MatchString(u.Username) || u.Username == "root" {
		return invalid("user name %q: want a lower-case letter or _, then up to 31 lower-case letters, digits, _ and -, and not root", clip(u.Username, 40))
	}
	if len(u.PublicKeys) == 0 {
		return invalid("user %q has no public key", u.Username)
	}
	for i, key := range u.PublicKeys {
		parsed, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(key))
		if err != nil || len(options) > 0 || strings.TrimSpace(string(rest)) != "" {
			return invalid("key %d of user %q is not one line as in a .pub file, without options", i+1, u.Username)
		}
		u.PublicKeys[i] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(parsed)))
	}
	u.AccountID = by.Account
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		if err := q.PutLoginUser(ctx, u, s.Now()); err != nil {
			return err
		}
		what := map[bool]string{false: "", true: " as superuser"}[u.Superuser]
		if err := s.changed(ctx, q, by, accountHref(by.Account), "login "+u.Username+" may log in to instances"+what); err != nil {
			return err
		}
		return s.pushLogins(ctx, q, by.Account)
	})
}

// RemoveLoginUser undoes SetLoginUser.
func (s *Service) RemoveLoginUser(ctx context.Context, by By, username string) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		found, err := q.DeleteLoginUser(ctx, by.Account, username)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("login user %q: %w", username, store.ErrNotFound)
		}
		if err := s.changed(ctx, q, by, accountHref(by.Account), "login "+username+" removed"); err != nil {
			return err
		}
		return s.pushLogins(ctx, q, by.Account)
	})
}

// loginTags say that an agent manages logins: RightLink 6 and 10 each have a
// value.
func loginTags() []string { return []string{"rs_login:state=active", "rs_login:state=user"} }

// pushLogins tells the agents that manage logins about a new policy.
func (s *Service) pushLogins(ctx context.Context, q *store.Queries, account int64) error {
	instances, err := q.Instances(ctx, account)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if !alive(i) {
			continue
		}
		tags, err := q.Tags(ctx, account, InstanceHref(i))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(tags, func(t store.TagRow) bool { return slices.Contains(loginTags(), t.Name) }) {
			continue
		}
		if err := s.addEvent(ctx, q, i, wire.ActorLoginPolicy, order{}); err != nil {
			return err
		}
	}
	return nil
}

// LoginPolicy is who may log in to the instance of a session now.
func (s *Service) LoginPolicy(ctx context.Context, sess Session) (wire.LoginPolicy, error) {
	_, server, err := s.Self(ctx, sess)
	if err != nil {
		return wire.LoginPolicy{}, err
	}
	users, err := s.DB.LoginUsers(ctx, server.AccountID)
	policy := wire.LoginPolicy{CreatedAt: s.Now().Unix(), Users: []wire.LoginUser{}}
	for _, u := range users {
		if !u.ExpiresAt.IsZero() && u.ExpiresAt.Before(s.Now()) {
			continue
		}
		one := wire.LoginUser{UUID: u.ID, Username: u.Username, CommonName: u.Username, Superuser: u.Superuser, PublicKeys: u.PublicKeys}
		if !u.ExpiresAt.IsZero() {
			one.ExpiresAt = u.ExpiresAt.Truncate(time.Second).Unix()
		}
		policy.Users = append(policy.Users, one)
	}
	return policy, err
}
