// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// maxEvent bounds one event: a bundle with its scripts.
const maxEvent = 16 << 20

// RouterURL is where events come from, "" before the first authorisation and
// for platforms without a router.
func (s *Session) RouterURL() string { return strings.TrimRight(s.Facts().RouterURL, "/") }

// DialRouter opens the WebSocket over which the platform sends events. A
// token that is not accepted is renewed once.
func (s *Session) DialRouter(ctx context.Context) (*websocket.Conn, error) {
	for renewed := false; ; renewed = true {
		token, _ := s.current()
		header := http.Header{}
		s.routerHeaders(header, token)
		dial, cancel := context.WithTimeout(ctx, answerTimeout)
		conn, resp, err := websocket.Dial(dial, s.RouterURL()+wire.PathConnect, &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: header})
		cancel()
		if err == nil {
			s.opt.OnContact(s.opt.Clock.Now())
			conn.SetReadLimit(maxEvent)
			return conn, nil
		}
		failure := &Error{Method: http.MethodGet, Path: "/router" + wire.PathConnect, Err: err}
		if resp != nil {
			failure.Status = resp.StatusCode
			failure.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), s.opt.Clock.Now())
			if resp.Body != nil {
				_ = resp.Body.Close()
			}
		}
		class := ClassOf(failure)
		if renewed || class != Unauthorized && class != Expired {
			return nil, failure
		}
		if err := s.renewUnless(ctx, token); err != nil {
			return nil, errors.Join(failure, err)
		}
	}
}

func (s *Session) routerHeaders(h http.Header, token secret.String) {
	h.Set("Authorization", "Bearer "+token.Reveal())
	h.Set(wire.HeaderAPIVersion, wire.RouterVersion)
	h.Set(wire.HeaderRightLinkID, s.opt.Identity.ClientID)
	h.Set("User-Agent", "RightLink v"+s.opt.Version)
}

// listenFor is how long a poll waits at the platform: less than any answer may
// take.
const listenFor = 25 * time.Second

// Listen waits for events by long polling; acks are those taken before. No
// event is no error.
func (s *Session) Listen(ctx context.Context, acks []string) ([]wire.Event, error) {
	query := url.Values{"wait_time": {strconv.Itoa(int(listenFor / time.Second))}, "timestamp": {strconv.FormatInt(s.opt.Clock.Now().Unix(), 10)}}
	if len(acks) > 0 {
		query["ack[]"] = acks
	}
	var list []wire.Event
	_, err := s.do(ctx, call{method: http.MethodGet, base: s.RouterURL(), version: wire.RouterVersion, path: wire.PathListen, query: query, out: &list, policy: NoRetry()})
	return list, err
}

// Schedule asks the platform to run an operational script here; it comes back
// as an event. The answer is the href of the audit entry, "" if it told none.
func (s *Session) Schedule(ctx context.Context, r wire.ScheduleRequest) (auditHref string, err error) {
	header, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathScheduleScript, in: r, policy: NoRetry()})
	return header.Get("Location"), err
}

// RequestShutdown asks the platform to have this instance rebooted, stopped or
// terminated; that comes back as an event.
func (s *Session) RequestShutdown(ctx context.Context, kind string) error {
	_, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathShutdown, in: wire.Decommission{Kind: kind}, policy: NoRetry()})
	return err
}

// Tags returns the tags of a resource.
func (s *Session) Tags(ctx context.Context, href string) (names []string, err error) {
	var list []wire.TaggedResource
	_, err = s.do(ctx, call{method: http.MethodPost, path: wire.PathTagsByResource, in: wire.TagsRequest{ResourceHrefs: []string{href}}, out: &list, policy: CallPolicy()})
	for _, r := range list {
		for _, t := range r.Tags {
			names = append(names, t.Name)
		}
	}
	return names, err
}

// AddTags puts tags on a resource.
func (s *Session) AddTags(ctx context.Context, href string, tags ...string) error {
	_, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathTagsAdd, in: wire.TagsRequest{ResourceHrefs: []string{href}, Tags: tags}, policy: CallPolicy()})
	return err
}

// DeleteTags takes tags off a resource.
func (s *Session) DeleteTags(ctx context.Context, href string, tags ...string) error {
	_, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathTagsDelete, in: wire.TagsRequest{ResourceHrefs: []string{href}, Tags: tags}, policy: CallPolicy()})
	return err
}

// LoginPolicy asks who may log in here.
func (s *Session) LoginPolicy(ctx context.Context) (p wire.LoginPolicy, err error) {
	_, err = s.do(ctx, call{method: http.MethodGet, path: wire.PathLoginPolicy, out: &p, policy: CallPolicy()})
	return p, err
}

// Forwarded is a request of somebody on this machine that goes to the platform
// in the name of the instance.
type Forwarded struct {
	Method string
	// Path lies below /api and begins with a slash; Query is as it came.
	Path, Query string
	Header      http.Header
	Body        []byte
}

// forwardTimeout bounds a forwarded call.
const forwardTimeout = 5 * time.Minute

// Forward makes the request with the instance's own token, which it renews once
// if need be, and writes the answer, whatever it is.
func (s *Session) Forward(ctx context.Context, f Forwarded, w http.ResponseWriter) error {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	for renewed := false; ; renewed = true {
		token, base := s.current()
		resp, err := s.forward(ctx, base, f, token)
		if err != nil {
			return &Error{Method: f.Method, Path: f.Path, Err: err}
		}
		class := Classify(resp.StatusCode)
		stale := class == Unauthorized || class == Moved || class == Expired && !s.Authorized()
		if !renewed && stale {
			_ = resp.Body.Close()
			if err := s.renewUnless(ctx, token); err != nil {
				return err
			}
			continue
		}
		return answer(w, resp)
	}
}

func (s *Session) forward(ctx context.Context, base string, f Forwarded, token secret.String) (*http.Response, error) {
	target := base + f.Path
	if f.Query != "" {
		target += "?" + f.Query
	}
	req, err := http.NewRequestWithContext(ctx, f.Method, target, bytes.NewReader(f.Body))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "Content-Type", wire.HeaderAPIVersion} {
		if v := f.Header.Values(name); len(v) > 0 {
			req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(v)
		}
	}
	if req.Header.Get(wire.HeaderAPIVersion) == "" {
		req.Header.Set(wire.HeaderAPIVersion, wire.APIVersion)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	req.Header.Set(wire.HeaderRightLinkID, s.opt.Identity.ClientID)
	req.Header.Set(wire.HeaderLineage, uuid.NewString())
	req.Header.Set("User-Agent", "RightLink v"+s.opt.Version)
	return s.client.Do(req)
}

// answer passes the platform's answer on, without what belongs to its
// connection.
func answer(w http.ResponseWriter, resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	for _, name := range []string{"Content-Type", "Location", "Retry-After", "Etag", "Cache-Control"} {
		if v := resp.Header.Values(name); len(v) > 0 {
			w.Header()[name] = v
		}
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("pass the answer on: %w", err)
	}
	return nil
}
