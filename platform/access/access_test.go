// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package access

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

const account = 1

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, nil)) }

// cheap is for tests of other things than the cost.
var cheap = Cost{Time: 1, Memory: 8, Threads: 1}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T) (*Service, *clock) {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.Rehearse = true
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s := New(db, c.now)
	s.Cost = cheap
	return s, c
}

func add(t *testing.T, s *Service, email string, password secret.String, roles ...Role) int64 {
	t.Helper()
	id, err := s.AddUser(t.Context(), account, NewUser{Email: email, Password: password, Roles: roles}, "test")
	require.NoError(t, err)
	return id
}

func TestMay(t *testing.T) {
	for role, want := range map[Role][]Role{
		Observer:  {Observer},
		Actor:     {Observer, Actor},
		Designer:  {Observer, Designer},
		Publisher: {Observer, Publisher},
		Operator:  {Observer, Operator, Actor},
		Admin:     Roles,
		"":        nil,
	} {
		p := Principal{Kind: KindUser, Roles: []Role{role}}
		for _, action := range Roles {
			require.Equal(t, strings.Contains(joined(want), " "+string(action)+" "), p.May(action), "%s: %s", role, action)
		}
		p.Kind = KindInstance
		require.False(t, p.May(Observer), "an instance has no roles")
	}
}

func joined(roles []Role) string {
	text := " "
	for _, r := range roles {
		text += string(r) + " "
	}
	return text
}

func TestLogin(t *testing.T) {
	s, c := open(t)
	ctx := t.Context()
	id := add(t, s, " Ann@Example.net ", "correct horse battery", Operator)
	add(t, s, "bot@example.net", "", Observer)

	p, err := s.Login(ctx, "ann@example.NET", "correct horse battery", account)
	require.NoError(t, err)
	require.Equal(t, Principal{Kind: KindUser, UserID: id, Email: "ann@example.net", AccountID: account, Roles: []Role{Operator}}, p)
	p, err = s.Login(ctx, "ann@example.net", "correct horse battery", 0)
	require.NoError(t, err)
	require.EqualValues(t, account, p.AccountID)
	for name, try := range map[string]struct {
		email    string
		password secret.String
		account  int64
	}{
		"wrong password": {"ann@example.net", "wrong horse battery", account},
		"no password":    {"bot@example.net", "", account},
		"nobody":         {"bob@example.net", "correct horse battery", account},
		"other account":  {"ann@example.net", "correct horse battery", 2},
		"long":           {"ann@example.net", secret.String(strings.Repeat("x", maxPassword+1)), account},
		"empty":          {"", "", account},
	} {
		_, err := s.Login(ctx, try.email, try.password, try.account)
		require.ErrorIs(t, err, ErrUnauthorized, name)
	}

	plain, err := s.StartSession(ctx, p, time.Hour)
	require.NoError(t, err)
	require.True(t, IsUserSecret(plain))
	got, err := s.Session(ctx, plain)
	require.NoError(t, err)
	require.Equal(t, p, got)
	require.NoError(t, s.SetRoles(ctx, account, "ann@example.net", []Role{Admin}, "test"))
	got, err = s.Session(ctx, plain)
	require.NoError(t, err)
	require.Equal(t, []Role{Admin}, got.Roles, "a change counts at once")

	c.t = c.t.Add(time.Hour)
	_, err = s.Session(ctx, plain)
	require.ErrorIs(t, err, ErrExpired)
	again, err := s.StartSession(ctx, p, time.Hour)
	require.NoError(t, err)
	require.NoError(t, s.EndSession(ctx, again))
	_, err = s.Session(ctx, again)
	require.ErrorIs(t, err, ErrExpired)
	_, err = s.Session(ctx, "something else")
	require.ErrorIs(t, err, ErrExpired)
	_, err = s.StartSession(ctx, Principal{Kind: KindInstance}, time.Hour)
	require.Error(t, err)
}

func TestRefreshTokens(t *testing.T) {
	s, c := open(t)
	ctx := t.Context()
	add(t, s, "ann@example.net", "correct horse battery", Admin)
	token, err := s.NewRefreshToken(ctx, account, "ann@example.net", "ci", "test")
	require.NoError(t, err)
	for _, wrong := range []secret.String{"", "refresh.", token + "x", "user." + token[8:]} {
		_, err := s.Refresh(ctx, wrong, 0)
		require.ErrorIs(t, err, ErrUnauthorized)
	}
	_, err = s.Refresh(ctx, token, 2)
	require.ErrorIs(t, err, ErrUnauthorized)
	p, err := s.Refresh(ctx, token, account)
	require.NoError(t, err)
	plain, err := s.StartSession(ctx, p, time.Hour)
	require.NoError(t, err)

	list, err := s.RefreshTokens(ctx, account, "ann@example.net")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, c.t, list[0].UsedAt)
	_, err = s.Session(ctx, token)
	require.ErrorIs(t, err, ErrExpired, "a refresh token is no session")

	require.ErrorIs(t, s.RevokeRefreshToken(ctx, account, "ann@example.net", 99, "test"), store.ErrNotFound)
	require.NoError(t, s.RevokeRefreshToken(ctx, account, "ann@example.net", list[0].ID, "test"))
	_, err = s.Session(ctx, plain)
	require.ErrorIs(t, err, ErrExpired, "its sessions end with it")
	_, err = s.Refresh(ctx, token, account)
	require.ErrorIs(t, err, ErrUnauthorized)
	_, err = s.NewRefreshToken(ctx, account, "ann@example.net", "a\nb", "test")
	require.Error(t, err)
	_, err = s.NewRefreshToken(ctx, account, "nobody@example.net", "x", "test")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestPeople(t *testing.T) {
	s, _ := open(t)
	ctx := t.Context()
	add(t, s, "ann@example.net", "correct horse battery", Admin)
	for _, tc := range []struct {
		u    NewUser
		want string
	}{
		{NewUser{Email: "ann", Password: "long enough password", Roles: []Role{Observer}}, "want name@host"},
		{NewUser{Email: "a b@c", Password: "long enough password", Roles: []Role{Observer}}, "want name@host"},
		{NewUser{Email: "bob@c", Password: "short", Roles: []Role{Observer}}, "at least 12"},
		{NewUser{Email: "bob@c", Password: "with\x00byte in the middle", Roles: []Role{Observer}}, "not text"},
		{NewUser{Email: "bob@c", Password: "long enough password"}, "needs a role"},
		{NewUser{Email: "ANN@example.net", Password: "long enough password", Roles: []Role{Observer}}, "exists already"},
	} {
		_, err := s.AddUser(ctx, account, tc.u, "test")
		require.ErrorContains(t, err, tc.want)
		require.NotContains(t, err.Error(), string(tc.u.Password))
	}
	require.ErrorContains(t, s.RemoveUser(ctx, account, "ann@example.net", "test"), "last admin")
	require.ErrorContains(t, s.SetRoles(ctx, account, "ann@example.net", []Role{Observer}, "test"), "last admin")
	require.ErrorContains(t, s.SetRoles(ctx, account, "ann@example.net", nil, "test"), "needs a role")

	add(t, s, "bob@example.net", "correct horse battery", Admin)
	p, err := s.Login(ctx, "ann@example.net", "correct horse battery", account)
	require.NoError(t, err)
	plain, err := s.StartSession(ctx, p, time.Hour)
	require.NoError(t, err)
	require.NoError(t, s.SetPassword(ctx, account, "ann@example.net", "another horse battery", "test"))
	_, err = s.Session(ctx, plain)
	require.ErrorIs(t, err, ErrExpired, "sessions of the old password end")
	_, err = s.Login(ctx, "ann@example.net", "correct horse battery", account)
	require.ErrorIs(t, err, ErrUnauthorized)
	p, err = s.Login(ctx, "ann@example.net", "another horse battery", account)
	require.NoError(t, err)
	plain, err = s.StartSession(ctx, p, time.Hour)
	require.NoError(t, err)
	require.NoError(t, s.RemoveUser(ctx, account, "ann@example.net", "test"))
	_, err = s.Session(ctx, plain)
	require.ErrorIs(t, err, ErrExpired)
	users, err := s.Users(ctx, account)
	require.NoError(t, err)
	require.Len(t, users, 1)

	entries, err := s.DB.AuditEntries(ctx, store.AuditFilter{AccountID: account})
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, "user ann@example.net removed", last.Summary)
	require.Equal(t, "test", last.UserEmail)
}

func TestParseRoles(t *testing.T) {
	roles, err := ParseRoles([]string{"actor", "designer", "actor"})
	require.NoError(t, err)
	require.Equal(t, []Role{Actor, Designer}, roles)
	_, err = ParseRoles([]string{"root"})
	require.ErrorContains(t, err, `role "root": want one of observer`)
}

func TestNewPassword(t *testing.T) {
	a, b := NewPassword(), NewPassword()
	require.NotEqual(t, a, b)
	require.Len(t, string(a), 26)
	require.NoError(t, checkPassword(a))
	require.True(t, samePassword(a, cheap.hash(a)))
	require.False(t, samePassword(b, cheap.hash(a)))
	for _, broken := range []string{"", "$argon2id$v=19$m=1,t=1,p=1$$", "$argon2i$v=19$m=1,t=1,p=1$YQ$YQ", "a$b$c$d$e$f"} {
		require.False(t, samePassword(a, broken))
	}
}

// What New makes has the cost that docs/api.md promises, for new people, for new
// passwords and for logins of nobody; a hash of another cost stays good.
func TestCost(t *testing.T) {
	s, c := open(t)
	ctx := t.Context()
	add(t, s, "ann@example.net", "correct horse battery", Admin)
	s = New(s.DB, c.now)
	const want = "$argon2id$v=19$m=19456,t=2,p=1$"
	stored := func(email string) string {
		u, err := s.DB.UserByEmail(ctx, email, account)
		require.NoError(t, err)
		return u.Password
	}
	_, err := s.Login(ctx, "ann@example.net", "correct horse battery", account)
	require.NoError(t, err, "a hash of a lower cost")
	require.NoError(t, s.SetPassword(ctx, account, "ann@example.net", "another horse battery", "test"))
	require.True(t, strings.HasPrefix(stored("ann@example.net"), want))
	add(t, s, "bob@example.net", "correct horse battery", Observer)
	require.True(t, strings.HasPrefix(stored("bob@example.net"), want))
	_, err = s.Login(ctx, "bob@example.net", "correct horse battery", account)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(s.Cost.unknown(), want))
	require.Equal(t, len(stored("bob@example.net")), len(s.Cost.unknown()), "or it is refused before it is compared")
	text, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	require.Contains(t, string(text), "argon2id hashes (19 MiB, two passes, one thread)")
}
