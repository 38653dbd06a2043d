// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// sessionCookie holds a session; globalCookie is there because clients expect
// two.
const (
	sessionCookie = "_session_id"
	globalCookie  = "rs_gbl"
)

// authenticated finds the session of the bearer token or cookie. No token is
// 401; one that is not valid (any more) is 403, which tells an agent to renew
// it. A cookie is no danger with requests that other sites make: they cannot
// send X-API-Version.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain, ok := bearerToken(r)
		if cookie, err := r.Cookie(sessionCookie); !ok && err == nil && cookie.Value != "" {
			plain, ok = secret.String(cookie.Value), true
		}
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="rightscaled"`)
			writeText(w, http.StatusUnauthorized, "no session: send the access token of /api/oauth2 as Bearer")
			return
		}
		who, err := s.identify(r, plain)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		ctx := context.WithValue(r.Context(), keyCaller, who)
		if who.agent != nil {
			ctx = context.WithValue(ctx, keySession, *who.agent)
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) identify(r *http.Request, plain secret.String) (caller, error) {
	n, _ := r.Context().Value(keyNotes).(*notes)
	if access.IsUserSecret(plain) {
		p, err := s.access.Session(r.Context(), plain)
		if err == nil && n != nil {
			n.user = p.Email
		}
		if account := r.Header.Get("X-Account"); err == nil && account != "" && account != strconv.FormatInt(p.AccountID, 10) {
			err = &deniedError{"the session is for account " + strconv.FormatInt(p.AccountID, 10) + ", not for " + clip(account)}
		}
		return caller{Principal: p}, err
	}
	sess, err := s.fleet.Session(r.Context(), plain)
	if err != nil {
		return caller{}, err
	}
	if n != nil {
		n.tokenID = sess.Token.ID
	}
	return caller{Principal: access.Principal{Kind: access.KindInstance, InstanceID: sess.Token.InstanceID}, agent: &sess}, nil
}

// callerOf returns what authenticated has found.
func callerOf(r *http.Request) caller {
	who, _ := r.Context().Value(keyCaller).(caller)
	return who
}

// allowed lets those through to whom a rule gives the right.
func allowed(ru rule, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := callerOf(r)
		switch {
		case ru.open, ru.instance && who.agent != nil, ru.role != "" && who.May(ru.role):
			next.ServeHTTP(w, r)
		case ru.role == "":
			writeText(w, http.StatusForbidden, "Permission Denied: this call is for instances")
		case who.agent != nil:
			writeText(w, http.StatusForbidden, "Permission Denied: an instance may not do this")
		default:
			writeText(w, http.StatusForbidden, "Permission Denied: you need the role "+string(ru.role)+" to do this")
		}
	})
}

// setSession gives a session to the caller as cookies.
func (c *call) setSession(plain secret.String) {
	for name, value := range map[string]string{sessionCookie: plain.Reveal(), globalCookie: "1"} {
		http.SetCookie(c.w, &http.Cookie{Name: name, Value: value, Path: "/api", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
			MaxAge: int(access.SessionTime.Seconds())})
	}
}

// versionFor is the version that a path's calls must name.
func versionFor(path string) string {
	if strings.HasPrefix(path, "/router/") {
		return wire.RouterVersion
	}
	return wire.APIVersion
}
