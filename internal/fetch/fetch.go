// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fetch downloads files of a mirror: from web servers and S3 buckets,
// through a proxy, with limits on size and time, and taking up a download that
// broke off. It trusts nothing it gets: callers check digests.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Limits of one download.
const (
	// dialTimeout bounds a connection with its TLS handshake.
	dialTimeout = 10 * time.Second
	// headerTimeout bounds the wait for an answer's first line.
	headerTimeout = 20 * time.Second
	maxRedirects  = 5
	// stallTime is how long a body may stay below stallBytes: a server that
	// sends a byte now and then does not hold a boot.
	stallTime  = 20 * time.Second
	stallBytes = 20 << 10
)

// Errors of this package.
var (
	// ErrTooLong means that a body is longer than it may be.
	ErrTooLong = errors.New("the answer is longer than it may be")
	// ErrStalled means that a server sends next to nothing.
	ErrStalled = errors.New("the server sends too slowly")
	// ErrDigest means that a file is not the one that was asked for.
	ErrDigest = errors.New("the file does not have its signed length and SHA-256")
	// ErrSpace means that the disk is too full.
	ErrSpace = errors.New("not enough free space")
	// ErrURL means that an address is not one of a mirror.
	ErrURL = errors.New("not the address of a mirror")
)

// StatusError is an answer other than 200 or 206.
type StatusError struct {
	URL  string
	Code int
	// Date is the server's clock, zero if it told none.
	Date time.Time
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// Options say how to reach mirrors.
type Options struct {
	// Proxy is host:port, user:password@host:port or a URL; NoProxy is a comma
	// list of hosts, domains and networks that are reached directly.
	Proxy   string
	NoProxy string
	// CA is PEM of certificates that are trusted beside the system's.
	CA []byte
	// Role gives the credentials and the region of the instance for buckets
	// that refuse anonymous requests; nil means anonymous only.
	Role Role
	// UserAgent names the caller.
	UserAgent string
	// StallTime replaces stallTime in tests.
	StallTime time.Duration
}

// Client downloads. It may be used by several goroutines.
type Client struct {
	http  *http.Client
	o     Options
	signs signatures
}

// New returns a Client.
func New(o Options) (*Client, error) {
	if o.StallTime == 0 {
		o.StallTime = stallTime
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if len(o.CA) > 0 && !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("the additional CA holds no certificate in PEM form")
	}
	proxy, err := proxyFunc(o.Proxy, o.NoProxy)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o}
	c.http = &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			TLSClientConfig:        &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			DisableCompression:     true, // lengths and digests are those of the file
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      false,
		},
	}
	return c, nil
}

// proxyFunc never sends requests to the metadata service through the proxy.
func proxyFunc(proxy, noProxy string) (func(*http.Request) (*url.URL, error), error) {
	if proxy == "" {
		return nil, nil //nolint:nilnil // no function means no proxy
	}
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	if u, err := url.Parse(proxy); err != nil || u.Host == "" {
		return nil, errors.New("the proxy setting is no host:port") // without the value: it may hold a password
	}
	c := httpproxy.Config{HTTPProxy: proxy, HTTPSProxy: proxy, NoProxy: strings.Trim("169.254.169.254,"+noProxy, ",")}
	find := c.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return find(r.URL) }, nil
}

// checkRedirect never leaves https once it is used, and takes no signature to
// another host.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("a redirect leads from https to %s", req.URL.Scheme)
	case req.URL.Host != via[0].URL.Host:
		req.Header.Del("Authorization")
		req.Header.Del("X-Amz-Security-Token")
	}
	return nil
}

// Get returns a small document of at most limit bytes.
func (c *Client) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	body, _, err := c.open(ctx, address, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", show(address), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w: over %d bytes", show(address), ErrTooLong, limit)
	}
	return data, nil
}

// open starts a download at an offset and tells where it really starts: a
// server without Range starts at 0.
func (c *Client) open(ctx context.Context, address string, offset int64) (io.ReadCloser, int64, error) {
	place, err := c.resolve(address)
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.send(ctx, place, offset, nil)
	if err != nil {
		return nil, 0, err
	}
	if place.bucket && resp.StatusCode == http.StatusForbidden && c.o.Role != nil {
		refused := statusError(resp, address)
		_ = resp.Body.Close()
		key, err := c.signs.get(ctx, c.o.Role)
		if err != nil {
			return nil, 0, fmt.Errorf("%w; as the instance's role: %w", refused, err)
		}
		if resp, err = c.send(ctx, place, offset, &signing{key: key, at: clock(refused.Date)}); err != nil {
			return nil, 0, err
		}
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		offset = 0
	case resp.StatusCode == http.StatusPartialContent && offset > 0 && startsAt(resp, offset):
	default:
		err := statusError(resp, address)
		_ = resp.Body.Close()
		return nil, 0, err
	}
	return newGuard(resp.Body, c.o.StallTime), offset, nil
}

func startsAt(resp *http.Response, offset int64) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset))
}

func statusError(resp *http.Response, address string) *StatusError {
	date, _ := http.ParseTime(resp.Header.Get("Date"))
	return &StatusError{URL: show(address), Code: resp.StatusCode, Date: date}
}

// send sends one request; signed if s is given.
func (c *Client) send(ctx context.Context, p place, offset int64, s *signing) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if c.o.UserAgent != "" {
		req.Header.Set("User-Agent", c.o.UserAgent)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	if s != nil {
		if err := s.sign(ctx, req, c.region(ctx, p)); err != nil {
			return nil, err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // its text repeats the address, with passwords
		}
		return nil, fmt.Errorf("%s: %w", show(p.url), err)
	}
	return resp, nil
}

// show hides a password in an address.
func show(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that cannot be read)"
	}
	u.RawQuery = ""
	return u.Redacted()
}
