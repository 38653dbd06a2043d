// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package launchdata gets user-data from an address that somebody typed, to
// connect a machine that runs already. What is there holds the token of an
// enrolment, and so may the address: nothing of either travels in the clear
// unless that was asked for, and no error shows more of the address than its
// host.
package launchdata

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
	"time"
)

// Bounds of one call.
const (
	// MaxSize is what user-data may have, as on EC2 with room for encodings.
	MaxSize      = 64 << 10
	timeout      = time.Minute
	maxRedirects = 5
)

// Errors that callers tell apart.
var (
	// ErrAddress means that there is nothing to be got from such an address.
	ErrAddress = errors.New("want an address that begins with https://")
	// ErrClear means that the answer would travel unencrypted.
	ErrClear = errors.New("want an https address, since what it leads to is a secret")
)

// Options say how strict Get is.
type Options struct {
	// AllowHTTP lets the first address be an http one. This machine itself may
	// always be asked so, and a redirect never leads from https to http.
	AllowHTTP bool
	// CA are certificates (PEM) that are trusted beside the system's.
	CA []byte
}

// Get returns what is at an address, at most MaxSize bytes.
func Get(ctx context.Context, address string, o Options) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, ErrAddress
	}
	if err := o.allows(u); err != nil {
		return nil, err
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, ErrAddress
	}
	resp, err := client.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the address
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	return Read(resp.Body)
}

// Read reads user-data within the same bound, as from a file.
func Read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("more than %d bytes", MaxSize)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func (o Options) allows(u *url.URL) error {
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return ErrAddress
	case !o.AllowHTTP && !thisMachine(u.Hostname()):
		return ErrClear
	}
	return nil
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o Options) client() (*http.Client, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // an image without the system's bundle
	}
	if len(o.CA) > 0 && !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("the additional CA holds no certificate in PEM form")
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: o.redirect,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

func (o Options) redirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https":
		return fmt.Errorf("a redirect leads from https to %s", next.URL.Scheme)
	}
	if err := o.allows(next.URL); err != nil {
		return fmt.Errorf("a redirect leads to %s: %w", next.URL.Host, err)
	}
	next.Header.Del("Referer") // the address before may hold a secret
	return nil
}
