// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Where EC2's metadata service is, and its limits.
const (
	imdsEndpoint   = "http://169.254.169.254"
	apiPath        = "/latest/api/token"
	sessionHeader  = "X-aws-ec2-metadata-token"
	ttlSeconds     = "21600" // the most that EC2 grants
	tokenLife      = 6 * time.Hour
	attemptTimeout = 5 * time.Second
	maxRedirects   = 16
	maxValue       = 1 << 20
)

// imds is a client of the metadata service, version 2. It never uses a proxy
// and never leaves the service's host.
type imds struct {
	base     string
	client   *http.Client
	slots    chan struct{} // bounds concurrent requests
	requests atomic.Int64
	// retry makes a fresh schedule for each request.
	retry func() backoff.BackOff

	mu      sync.Mutex
	session *session
	// plain services know no session tokens; each request carries header.
	plain  bool
	header http.Header
	host   string // the Host that the service wants; empty: its address
}

func newIMDS(o Options) *imds {
	base := strings.TrimSuffix(o.Endpoint, "/")
	if base == "" {
		base = imdsEndpoint
	}
	m := &imds{base: base, slots: make(chan struct{}, o.Workers), retry: schedule, session: openSession(o, base)}
	m.client = &http.Client{
		Timeout:       attemptTimeout,
		CheckRedirect: sameHost,
		Transport: &http.Transport{
			Proxy:       nil, // metadata must never go through a proxy
			DialContext: (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: -1}).DialContext,
			// Connections are kept where the service keeps them; the real one
			// often closes each, which the transport and the retries bear.
			MaxIdleConnsPerHost:    o.Workers,
			IdleConnTimeout:        30 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return m
}

func schedule() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval, b.RandomizationFactor = 100*time.Millisecond, 2, 5*time.Second, 0.5
	return b
}

// sameHost follows redirects within the service only: the token travels along.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// Requests counts the requests sent so far, token requests and retries included.
func (m *imds) Requests() int64 { return m.requests.Load() }

// get returns the body at path, with retries until ctx ends. ErrAbsent for 404,
// ErrDenied for 403; other refusals are errors at once.
func (m *imds) get(ctx context.Context, path string) (string, error) {
	var last error
	body, err := backoff.Retry(ctx, func() (string, error) {
		body, err := m.try(ctx, path)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return body, err
	}, backoff.WithBackOff(m.retry()), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return body, nil
	}
	if ctx.Err() != nil && last != nil {
		err = fmt.Errorf("%w; last try: %w", err, last)
	}
	return "", fmt.Errorf("metadata service: GET %s: %w", path, err)
}

// once is get for what does not change within a boot: the stages share it.
func (m *imds) once(ctx context.Context, path string) (string, error) {
	m.mu.Lock()
	body, ok := m.session.Values[path]
	m.mu.Unlock()
	if ok {
		return body, nil
	}
	body, err := m.get(ctx, path)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session.Values == nil {
		m.session.Values = map[string]string{}
	}
	m.session.Values[path] = body
	m.session.save()
	return body, nil
}

// try is one attempt. A 401 means that the token has run out, or that the
// service was restarted: one new token, then the same request again.
func (m *imds) try(ctx context.Context, path string) (string, error) {
	if m.plain {
		body, status, err := m.do(ctx, http.MethodGet, path, "", "")
		if err != nil {
			return "", err
		}
		return body, verdict(status)
	}
	token, err := m.currentToken(ctx, "")
	if err != nil {
		return "", err
	}
	body, status, err := m.do(ctx, http.MethodGet, path, sessionHeader, token)
	if status == http.StatusUnauthorized {
		if token, err = m.currentToken(ctx, token); err != nil {
			return "", err
		}
		body, status, err = m.do(ctx, http.MethodGet, path, sessionHeader, token)
	}
	if err != nil {
		return "", err
	}
	return body, verdict(status)
}

// currentToken returns the session token, fetching one if there is none or if
// it is still the stale one. Workers wait for one fetch.
func (m *imds) currentToken(ctx context.Context, stale string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.session.Token; t != "" && t != stale {
		return t, nil
	}
	m.session.Token = ""
	body, status, err := m.do(ctx, http.MethodPut, apiPath, sessionHeader+"-ttl-seconds", ttlSeconds)
	if err != nil {
		return "", err
	}
	switch err := verdict(status); {
	case errors.Is(err, ErrAbsent), status == http.StatusMethodNotAllowed:
		return "", backoff.Permanent(errors.New("no session tokens here (IMDSv2 is required)"))
	case err != nil:
		return "", fmt.Errorf("session token: %w", err)
	}
	body = strings.TrimSpace(body)
	if body == "" || strings.ContainsAny(body, "\r\n") {
		return "", errors.New("session token: malformed answer")
	}
	m.session.Token, m.session.Expires = body, time.Now().Add(tokenLife-time.Hour)
	m.session.save()
	return body, nil
}

// verdict sorts a status: nil, to be tried again, or permanent.
func verdict(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound:
		return backoff.Permanent(ErrAbsent)
	case status == http.StatusForbidden:
		return backoff.Permanent(ErrDenied)
	case status == http.StatusUnauthorized, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return statusError(status)
	}
	return backoff.Permanent(statusError(status))
}

// statusError is an HTTP status that is no success.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// do sends one request and reads the whole body, so that the connection can be
// used again.
func (m *imds) do(ctx context.Context, method, path, header, value string) (string, int, error) {
	path, query, _ := strings.Cut(path, "?")
	req, err := http.NewRequestWithContext(ctx, method, m.base+(&url.URL{Path: path, RawQuery: query}).String(), nil)
	if err != nil {
		return "", 0, backoff.Permanent(err)
	}
	if m.host != "" {
		req.Host = m.host
	}
	maps.Copy(req.Header, m.header)
	if header != "" {
		req.Header.Set(header, value)
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return "", 0, ctx.Err()
	}
	m.requests.Add(1)
	resp, err := m.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is written
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxValue+1))
	if err != nil {
		return "", 0, err
	}
	if len(body) > maxValue {
		return "", 0, backoff.Permanent(fmt.Errorf("answer of more than %d bytes", maxValue))
	}
	return string(body), resp.StatusCode, nil
}
