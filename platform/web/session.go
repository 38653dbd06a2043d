// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// sessionCookie is bound to this host and to https by its prefix. It is Lax and
// not Strict, so that a link in a message leads to the page and not to the
// login; what changes something is guarded three times: the browser does not
// send a Lax cookie with a foreign POST, CrossOriginProtection refuses it, and
// the form lacks the session's token.
const (
	sessionCookie = "__Host-rightscaled"
	sessionTime   = 12 * time.Hour
)

// guarded asks for what a route needs before its handler runs.
func (s *Server) guarded(one route) http.HandlerFunc {
	return s.plain(func(c *call) error {
		switch {
		case one.need == anyone:
			return one.handle(c)
		case c.who.UserID == 0:
			return c.askLogin()
		case one.need != person && !c.may(one.need):
			return &forbiddenError{one.need}
		}
		if one.method == http.MethodPost {
			if err := c.checkToken(); err != nil {
				return err
			}
		}
		return one.handle(c)
	})
}

// plain turns a handler into one of net/http; it finds the session, if any, and
// shows errors as pages.
func (s *Server) plain(handle func(*call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Server: s, w: w, r: r, fragment: r.Header.Get("HX-Request") == "true"}
		err := c.recognise()
		if err == nil {
			err = handle(c)
		}
		if err != nil {
			c.fail(err)
		}
	}
}

// recognise finds who asks, by the cookie.
func (c *call) recognise() error {
	cookie, err := c.r.Cookie(sessionCookie)
	if err != nil {
		return nil //nolint:nilerr // no cookie, no session
	}
	who, err := c.access.Session(c.ctx(), secret.String(cookie.Value))
	if errors.Is(err, access.ErrExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	c.who = who
	c.csrf = base64.RawURLEncoding.EncodeToString(c.fleet.Keys.Sign("dashboard form", cookie.Value))
	return nil
}

// checkToken refuses a form that does not come from a page of this session.
func (c *call) checkToken() error {
	if err := c.r.ParseForm(); err != nil {
		return formError{err}
	}
	if subtle.ConstantTimeCompare([]byte(c.r.PostForm.Get("csrf")), []byte(c.csrf)) != 1 {
		return errForeignForm
	}
	return nil
}

// askLogin leads to the login and back again afterwards.
func (c *call) askLogin() error {
	target := Base + "/login"
	if c.r.Method == http.MethodGet && !c.fragment {
		target += "?next=" + url.QueryEscape(c.r.URL.RequestURI())
	}
	if c.fragment {
		c.w.Header().Set("HX-Redirect", target)
		c.w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	http.Redirect(c.w, c.r, target, http.StatusSeeOther)
	return nil
}

// loginPage is what the login form shows.
type loginPage struct {
	Email, Next, Problem string
}

func (c *call) loginForm() error {
	next := localPath(c.r.URL.Query().Get("next"))
	if c.who.UserID != 0 {
		http.Redirect(c.w, c.r, next, http.StatusSeeOther)
		return nil
	}
	return c.show(http.StatusOK, "login", "Log in", loginPage{Next: next})
}

func (c *call) login() error {
	if err := c.r.ParseForm(); err != nil {
		return formError{err}
	}
	form := loginPage{Email: strings.TrimSpace(c.r.PostForm.Get("email")), Next: localPath(c.r.PostForm.Get("next"))}
	if wait := c.limit.Blocked(c.r, strings.ToLower(form.Email)); wait > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		form.Problem = "Too many attempts failed. Wait a minute, then try again."
		return c.show(http.StatusTooManyRequests, "login", "Log in", form)
	}
	who, err := c.access.Login(c.ctx(), form.Email, secret.String(c.r.PostForm.Get("password")), 0)
	if errors.Is(err, access.ErrUnauthorized) {
		c.limit.Failed(c.r, strings.ToLower(form.Email))
		form.Problem = "This email address and password do not belong together, or the user has no role here."
		return c.show(http.StatusUnauthorized, "login", "Log in", form)
	}
	if err != nil {
		return err
	}
	return c.begin(who, form.Next)
}

// begin starts a session in place of the one there is, if any: a new login has
// a new secret.
func (c *call) begin(who access.Principal, next string) error {
	plain, err := c.access.StartSession(c.ctx(), who, sessionTime)
	if err != nil {
		return err
	}
	if err := c.endSession(); err != nil {
		return err
	}
	c.setCookie(plain.Reveal(), int(sessionTime.Seconds()))
	http.Redirect(c.w, c.r, next, http.StatusSeeOther)
	return nil
}

func (c *call) logout() error {
	if err := c.endSession(); err != nil {
		return err
	}
	c.setCookie("", -1)
	c.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	return c.to("/login")
}

// endSession ends the session that the cookie names, if any.
func (c *call) endSession() error {
	cookie, err := c.r.Cookie(sessionCookie)
	if err != nil {
		return nil //nolint:nilerr // no cookie, no session
	}
	return c.access.EndSession(c.ctx(), secret.String(cookie.Value))
}

func (c *call) setCookie(plain string, age int) {
	http.SetCookie(c.w, &http.Cookie{Name: sessionCookie, Value: plain, Path: "/", MaxAge: age, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
}

// localPath keeps a path of the dashboard and replaces everything else.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, Base+"/") || strings.ContainsAny(next, "\\\r\n") {
		return Base + "/"
	}
	return next
}

// by names the account and the person in audit entries.
func (c *call) by() fleet.By { return fleet.By{Account: c.account(), Who: c.who.Email} }
