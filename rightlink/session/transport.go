// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Limits of one request. The original opens API connections within 2 s, which
// a small machine that is busy booting does not manage.
const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 35 * time.Second
	healthTimeout = 5 * time.Second
)

// NewTransport returns the one transport of the agent: it trusts the system's
// authorities and those of caFile (if it exists), and goes through the proxy
// of the identity. proxy may lack a scheme.
func NewTransport(caFile, proxy, noProxy string) (*http.Transport, error) {
	pool, err := trust(caFile)
	if err != nil {
		return nil, err
	}
	choose, err := Proxy(proxy, noProxy)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                 choose,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   answerTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
	}, nil
}

func trust(caFile string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // an image without the system's bundle
	}
	pem, err := os.ReadFile(caFile)
	if errors.Is(err, os.ErrNotExist) || caFile == "" {
		return pool, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the platform's authority: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the platform's authority: %s holds no PEM certificate; write the platform's CA into it or remove it", caFile)
	}
	return pool, nil
}

// Proxy returns the choice of a proxy for each request. Link-local addresses,
// the metadata service among them, are always reached directly.
func Proxy(proxy, noProxy string) (func(*http.Request) (*url.URL, error), error) {
	if proxy == "" {
		return nil, nil
	}
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	if u, err := url.Parse(proxy); err != nil || u.Hostname() == "" {
		return nil, errors.New("http_proxy of the identity must be host:port, user:password@host:port or a URL")
	}
	config := httpproxy.Config{HTTPProxy: proxy, HTTPSProxy: proxy, NoProxy: noProxy}
	choose := config.ProxyFunc()
	return func(req *http.Request) (*url.URL, error) {
		if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil && addr.IsLinkLocalUnicast() {
			return nil, nil
		}
		return choose(req.URL)
	}, nil
}
