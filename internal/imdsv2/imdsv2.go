// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package imdsv2 asks EC2's metadata service, version 2, a few questions, for
// programs that need no more. The bootstrap agent, which reads the whole tree
// and must bear every fault of the service, has a client of its own.
package imdsv2

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Endpoint is where the service is.
const Endpoint = "http://169.254.169.254"

// Bounds of one request.
const (
	timeout     = 5 * time.Second
	dialTimeout = 2 * time.Second
	maxAnswer   = 64 << 10
	sessionLife = "60" // seconds
)

// Error is a request that did not give what was asked for.
type Error struct {
	Method, Path string
	// Status is what the service answered; 0 when it gave no whole answer.
	Status int
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("metadata service: %s %s: %v", e.Method, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Get returns the answers at paths, which share one session. Endpoint is empty
// for EC2's own. There are no retries; errors are *Error. Proxies have no
// business here, and the session's token follows no redirect.
func Get(ctx context.Context, endpoint string, paths ...string) ([]string, error) {
	if endpoint == "" {
		endpoint = Endpoint
	}
	a := asker{strings.TrimSuffix(endpoint, "/"), &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	token, err := a.ask(ctx, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", sessionLife)
	if err != nil {
		return nil, err
	}
	answers := make([]string, len(paths))
	for i, path := range paths {
		if answers[i], err = a.ask(ctx, http.MethodGet, path, "X-aws-ec2-metadata-token", token); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

type asker struct {
	base   string
	client *http.Client
}

func (a asker) ask(ctx context.Context, method, path, header, value string) (string, error) {
	fail := func(status int, err error) error { return &Error{method, path, status, err} }
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return "", fail(0, err)
	}
	req.Header.Set(header, value)
	resp, err := a.client.Do(req)
	if err != nil {
		return "", fail(0, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fail(resp.StatusCode, fmt.Errorf("it answers %d", resp.StatusCode))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fail(0, err)
	case len(text) > maxAnswer:
		return "", fail(0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer))
	}
	return string(text), nil
}
