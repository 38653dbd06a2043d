// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package session is the agent's connection to the platform: it obtains and
// renews the access token and makes the calls of the protocol, repeating them
// by the rules of rules.go.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
)

// Options are what a session needs; only Identity and Version must be set.
type Options struct {
	Identity identity.Identity
	// Version of the agent, sent to the platform.
	Version string
	// Transport is nil for the default one with CAFile and the identity's proxy.
	Transport http.RoundTripper
	CAFile    string
	Clock     clock.Clock
	// Chance returns numbers in [0,1) for the jitter.
	Chance func() float64
	Log    *slog.Logger
	// OnContact is called after each answer of the platform.
	OnContact func(time.Time)
	// Credential answers for the agent; nil for the token of the identity.
	Credential Credential
}

// Session is safe for use by several goroutines.
type Session struct {
	opt    Options
	client *http.Client

	renewing sync.Mutex // one authorisation at a time
	mu       sync.Mutex
	token    secret.String
	expires  time.Time
	apiURL   string
	facts    Facts
}

// Facts are what the platform told about the session; none is secret.
type Facts struct {
	Mode      string `json:"mode"`
	ShardID   int64  `json:"shard_id"`
	APIURL    string `json:"api_url"`
	RouterURL string `json:"router_url"`
}

// New prepares a session; nothing is sent yet.
func New(opt Options) (*Session, error) {
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	if opt.Chance == nil {
		opt.Chance = rand.Float64
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.OnContact == nil {
		opt.OnContact = func(time.Time) {}
	}
	if opt.Credential == nil {
		opt.Credential = tokenCredential{opt.Identity}
	}
	if opt.Transport == nil {
		transport, err := NewTransport(opt.CAFile, opt.Identity.HTTPProxy, opt.Identity.NoProxy)
		if err != nil {
			return nil, err
		}
		opt.Transport = transport
	}
	client := &http.Client{
		Transport: opt.Transport,
		// The session follows redirects by its own rules.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Session{opt: opt, client: client, apiURL: opt.Identity.APIURL()}, nil
}

// Facts returns what the last authorisation told.
func (s *Session) Facts() Facts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts
}

// Authorized tells if there is a token that has not expired.
func (s *Session) Authorized() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != "" && s.opt.Clock.Now().Before(s.expires)
}

func (s *Session) remaining() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expires.Sub(s.opt.Clock.Now())
}

func (s *Session) current() (token secret.String, apiURL string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.apiURL
}

// Connect authorises and checks the platform's health, trying again as policy
// says. It returns nil, the context's error, or the last error when the
// policy gives its class no more tries and it is not worth polling for.
func (s *Session) Connect(ctx context.Context, policy Policy) error {
	var class Class
	for n := 0; ; n++ {
		err := s.Authorize(ctx)
		if err == nil {
			err = s.Healthy(ctx)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		if now := ClassOf(err); now != class { // each class has its own back-off
			class, n = now, 0
		}
		schedule, known := policy[class]
		switch {
		case !known:
			return err
		case schedule.Allows(n):
			wait := schedule.Wait(n, s.opt.Chance(), retryAfterOf(err))
			s.opt.Log.Warn("the platform does not authorise this agent yet", "class", class, "wait", wait.Round(time.Second), "error", err)
			if end := s.opt.Clock.Sleep(ctx, wait); end != nil {
				return fmt.Errorf("%w: %w", end, err) // why it did not work says more
			}
		default:
			if end := s.awaitHealth(ctx); end != nil {
				return fmt.Errorf("%w: %w", end, err)
			}
			n = -1 // healthy again: at once
		}
	}
}

// healthPoll is the time between two health checks of a platform that is
// away; the first comes after a random part of it.
const healthPoll = 15 * time.Second

func (s *Session) awaitHealth(ctx context.Context) error {
	s.opt.Log.Warn("the platform does not respond; waiting for its health check", "every", healthPoll)
	wait := time.Duration(s.opt.Chance() * float64(healthPoll-time.Second))
	for {
		if err := s.opt.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		err := s.Healthy(ctx)
		if err == nil {
			return nil
		}
		wait = max(healthPoll, min(retryAfterOf(err), maxRetryAfter))
	}
}

// KeepAlive renews the token for as long as the context lives.
func (s *Session) KeepAlive(ctx context.Context) {
	for ctx.Err() == nil {
		wait := max(halfOf(s.remaining()), time.Second)
		if s.opt.Clock.Sleep(ctx, wait) != nil {
			return
		}
		if err := s.renewInTime(ctx); err != nil && ctx.Err() == nil {
			s.opt.Log.Warn("renewing the session", "error", err)
		}
	}
}

// renewInTime renews the token. While it is valid for more than 5 s a
// platform that does not respond is tried again after half of that time.
func (s *Session) renewInTime(ctx context.Context) error {
	for {
		err := s.Authorize(ctx)
		if err == nil {
			return nil
		}
		class := ClassOf(err)
		left := s.remaining()
		if class != NotResponding && class != Throttled || left <= 5*time.Second {
			return s.Connect(ctx, RunPolicy())
		}
		wait := max(halfOf(left), min(retryAfterOf(err), left))
		s.opt.Log.Warn("renewing the session; the token is still valid", "left", left.Round(time.Second), "wait", wait, "error", err)
		if err := s.opt.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// halfOf halves in whole seconds, as the original does.
func halfOf(d time.Duration) time.Duration {
	return time.Duration(int64(d/time.Second)/2) * time.Second
}

// renewUnless authorises again, unless another goroutine has replaced the
// token used meanwhile.
func (s *Session) renewUnless(ctx context.Context, used secret.String) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if token, _ := s.current(); token != used {
		return nil
	}
	return s.authorize(ctx)
}

// Authorize makes one OAuth exchange, following redirects.
func (s *Session) Authorize(ctx context.Context) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return s.authorize(ctx)
}

// maxRedirects is how many moves one authorisation follows.
const maxRedirects = 5

func (s *Session) authorize(ctx context.Context) error {
	_, base := s.current()
	query := ""
	for range maxRedirects + 1 {
		answer, moved, err := s.oauth(ctx, base, query)
		if err != nil {
			return err
		}
		if moved == nil {
			return s.accept(answer)
		}
		old, err := url.Parse(base)
		if err != nil {
			return fmt.Errorf("authorise: api url %q: %w", base, err)
		}
		// Host and query come from the new place, the path stays.
		query = moved.RawQuery
		base = (&url.URL{Scheme: moved.Scheme, Host: moved.Host, Path: old.Path}).String()
	}
	return &Error{Method: http.MethodPost, Path: wire.PathOAuth2, Status: http.StatusFound, Body: fmt.Sprintf("more than %d redirects", maxRedirects)}
}

// accept takes over the answer of a successful authorisation.
func (s *Session) accept(a wire.OAuthResponse) error {
	fail := func(format string, args ...any) error {
		return &Error{Method: http.MethodPost, Path: wire.PathOAuth2, Status: http.StatusOK, Body: fmt.Sprintf(format, args...), Err: errBadAnswer}
	}
	api, err := url.Parse(a.APIURL)
	switch {
	case a.AccessToken == "":
		return fail("access_token is missing")
	case a.ExpiresIn <= 0:
		return fail("expires_in is %d", a.ExpiresIn)
	case a.Mode != "http":
		return fail("mode is %q; this agent speaks http only", a.Mode)
	case err != nil || api.Scheme != "https" || api.Host == "":
		return fail("api_url %q is not an https URL", a.APIURL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = secret.String(a.AccessToken)
	s.expires = s.opt.Clock.Now().Add(time.Duration(a.ExpiresIn) * time.Second)
	s.apiURL = strings.TrimRight(a.APIURL, "/")
	s.facts = Facts{Mode: a.Mode, ShardID: a.ShardID, APIURL: s.apiURL, RouterURL: a.RouterURL}
	return nil
}

// errBadAnswer marks an answer that the agent cannot use.
var errBadAnswer = errors.New("the answer cannot be used")
