// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// busyError asks a caller to wait: 429.
type busyError struct{ wait time.Duration }

func (e *busyError) Error() string { return "too many wrong logins; wait" }

// try runs a login unless its caller has failed too often. who is the name that
// is tried, which the limiter sees as a hash.
func (s *Server) try(r *http.Request, who string, login func() (access.Principal, error)) (access.Principal, error) {
	sum := sha256.Sum256([]byte(who))
	id := hex.EncodeToString(sum[:8])
	if wait := s.limit.Blocked(r, id); wait > 0 {
		return access.Principal{}, &busyError{wait}
	}
	p, err := login()
	if err == access.ErrUnauthorized { //nolint:errorlint // the value itself: a database that fails is nobody's guess
		s.limit.Failed(r, id)
	}
	return p, err
}

// accountHref reads an account's href, 0 when none was sent or for account 0,
// which rsc sends when it was told none.
func (p *params) accountHref() int64 { return p.href("account_href", "accounts") }

func (c *call) password() (access.Principal, error) {
	email, password, account := c.p.need("email"), c.p.need("password"), c.p.accountHref()
	if err := c.p.problem(); err != nil {
		return access.Principal{}, err
	}
	return c.try(c.r, "user "+strings.ToLower(email), func() (access.Principal, error) {
		return c.access.Login(c.ctx(), email, secret.String(password), account)
	})
}

// login is a session by password: exactly 204 and cookies.
func (c *call) login() (reply, error) {
	who, err := c.password()
	if err != nil {
		return reply{}, err
	}
	plain, err := c.access.StartSession(c.ctx(), who, access.SessionTime)
	if err == nil {
		c.setSession(plain)
	}
	return done(err)
}

// loginInstance is a session by an instance's token: <token id>:<token> as in
// its user-data, or the access token that its agent has.
func (c *call) loginInstance() (reply, error) {
	token, account := c.p.need("instance_token"), c.p.accountHref()
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, plain, hasID := strings.Cut(token, ":")
	bearer := secret.String(token)
	if hasID {
		_, err := c.try(c.r, "instance "+id, func() (access.Principal, error) {
			n, err := strconv.ParseInt(id, 10, 64)
			if err != nil {
				return access.Principal{}, access.ErrUnauthorized
			}
			if bearer, err = c.fleet.Login(c.ctx(), n, account, secret.String(plain)); err == fleet.ErrUnauthorized { //nolint:errorlint // the value itself
				err = access.ErrUnauthorized
			}
			return access.Principal{}, err
		})
		if err != nil {
			return reply{}, err
		}
	} else if _, err := c.fleet.Session(c.ctx(), bearer); err != nil || access.IsUserSecret(bearer) {
		return reply{}, access.ErrUnauthorized
	}
	c.setSession(bearer)
	return done(nil)
}

// refresh is the part of oauth2 that people's programs use.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, req oauthRequest) {
	token := secret.String(req.RefreshToken)
	who, err := s.try(r, "refresh "+token.Reveal()[:min(len(token), 16)], func() (access.Principal, error) {
		return s.access.Refresh(r.Context(), token, int64(req.AccountID))
	})
	var plain secret.String
	if err == nil {
		plain, err = s.access.StartSession(r.Context(), who, access.SessionTime)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	host := s.host(r)
	s.writeJSON(w, r, "", wire.OAuthResponse{
		AccessToken: plain.Reveal(), ExpiresIn: int64(access.SessionTime / time.Second), TokenType: "bearer",
		Mode: "http", ShardID: 1, RouterURL: "https://" + host + "/router", APIURL: "https://" + host + "/api",
	})
}

// session tells that there is one, and in view whoami whose it is.
func (c *call) session() (reply, error) {
	links := []wire.Link{link("account", accountHref(c.who.AccountID))}
	if c.view("whoami") == "whoami" {
		if c.who.agent == nil {
			links = append(links, link("user", access.UserHref(c.who.UserID)))
		} else {
			inst, _, err := c.fleet.Self(c.ctx(), *c.who.agent)
			if err != nil {
				return reply{}, err
			}
			links = append(links, link("instance", fleet.InstanceHref(inst)))
		}
		return shown("session", object(resource{"message": "You are logged in", "user_email": c.who.Email}, links))
	}
	for _, root := range []string{"audit_entries", "clouds", "credentials", "deployments", "multi_cloud_images", "publications", "right_scripts",
		"server_arrays", "server_template_multi_cloud_images", "server_templates", "servers", "sessions", "tags"} {
		links = append(links, link(root, "/api/"+root))
	}
	return shown("session", object(resource{"message": "You have successfully logged into the RightScale API."}, links))
}

// logout ends the session: our addition.
func (c *call) logout() (reply, error) {
	if c.who.agent != nil {
		return reply{}, &deniedError{"an agent's session ends by itself"}
	}
	plain, ok := bearerToken(c.r)
	if cookie, err := c.r.Cookie(sessionCookie); !ok && err == nil {
		plain = secret.String(cookie.Value)
	}
	http.SetCookie(c.w, &http.Cookie{Name: sessionCookie, Path: "/api", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	return done(c.access.EndSession(c.ctx(), plain))
}

// sessionAccounts lists the accounts of a person, who shows a session or a
// password.
func (c *call) sessionAccounts() (reply, error) {
	c.view("extended")
	var who access.Principal
	var err error
	if plain, ok := bearerToken(c.r); ok && !c.p.has("email") {
		who, err = c.access.Session(c.ctx(), plain)
	} else if cookie, cerr := c.r.Cookie(sessionCookie); cerr == nil && !c.p.has("email") {
		who, err = c.access.Session(c.ctx(), secret.String(cookie.Value))
	} else {
		who, err = c.password()
	}
	if err != nil {
		return reply{}, err
	}
	accounts, err := c.fleet.DB.AccountsOfUser(c.ctx(), who.UserID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(accounts))
	for i, a := range accounts {
		list[i] = accountResource(a)
	}
	return c.index("account", list)
}
