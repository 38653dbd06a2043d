// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package matrix fails every API call of a run in turn, and looks at what the
// run has left in the local cloud. Tests of the builders are written with it.
package matrix

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Way is how a call fails.
type Way string

// The ways. A lost reply belongs to a call that was carried out.
const (
	Refused      Way = "refused"          // not authorized; not carried out
	LostOnce     Way = "reply lost"       // the client's own repetition may mend it
	LostForGood  Way = "every reply lost" // of this call and its repetitions
	CancelBefore Way = "cancelled before" // the caller is cancelled, and the call is not carried out
	CancelAfter  Way = "cancelled after"  // the caller is cancelled while the call is carried out
)

// Ways are all of them.
func Ways() []Way { return []Way{Refused, LostOnce, LostForGood, CancelBefore, CancelAfter} }

// Proxy stands between a client and a cloud, counts calls, and fails one.
type Proxy struct {
	// URL is the endpoint to give to the client.
	URL string
	// Repeats is how often the client repeats a call whose reply is lost.
	Repeats int

	server *httptest.Server

	mu     sync.Mutex
	calls  []string
	nth    int
	way    Way
	cancel context.CancelFunc
	name   string // of the failing call
	left   int    // replies still to be lost
}

// New starts a proxy for the cloud at an endpoint.
func New(endpoint string) (*Proxy, error) {
	to, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	p := &Proxy{}
	through := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, through) }))
	p.URL = p.server.URL
	return p, nil
}

// Close stops the proxy.
func (p *Proxy) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// Fail fails the nth call from now on, counted from 1. cancel is called for the
// ways that cancel.
func (p *Proxy) Fail(nth int, way Way, cancel context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.nth, p.way, p.cancel, p.name, p.left = nil, nth, way, cancel, "", 0
}

// Calls are the calls since the last Fail, such as "us-east-1 RunInstances".
func (p *Proxy) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.calls...)
}

// Failed names the call that failed; "" when the run was over before.
func (p *Proxy) Failed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// count records a call and returns the way in which it fails.
func (p *Proxy) count(name string) Way {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, name)
	switch {
	case len(p.calls) == p.nth:
		p.name = name
		if p.way == LostForGood {
			p.left = p.Repeats
		}
		return p.way
	case p.left > 0 && name == p.name:
		p.left--
		return LostOnce
	default:
		return ""
	}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, through http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	switch p.count(nameOf(r, body)) {
	case Refused:
		refuse(w, r)
		return
	case LostOnce, LostForGood:
		carryOut(r, through)
		panic(http.ErrAbortHandler) // the connection breaks without an answer
	case CancelBefore:
		p.cancel()
		panic(http.ErrAbortHandler)
	case CancelAfter:
		p.cancel()
		carryOut(r, through)
		panic(http.ErrAbortHandler)
	}
	through.ServeHTTP(w, r)
}

// carryOut makes the call although its client may be gone.
func carryOut(r *http.Request, through http.Handler) {
	through.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
}

// nameOf is region and action of a call, whatever protocol it speaks.
func nameOf(r *http.Request, body []byte) string {
	region := "?"
	if m := regexp.MustCompile(`Credential=[^/]+/[0-9]+/([^/]+)/`).FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		region = m[1]
	}
	if _, action, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return region + " " + action
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		return region + " " + form.Get("Action")
	}
	return fmt.Sprintf("%s %s %s", region, r.Method, regexp.MustCompile(`snap-[0-9a-f]+|[0-9]+`).ReplaceAllString(r.URL.Path, "*"))
}

// refuse denies a call in the words of its protocol.
func refuse(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("X-Amz-Target") != "" || !strings.Contains(r.Header.Get("Content-Type"), "form"):
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"AccessDeniedException","message":"refused by the test"}`)
	case strings.Contains(r.Header.Get("Authorization"), "/iam/") || strings.Contains(r.Header.Get("Authorization"), "/sts/"):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>refused by the test</Message></Error></ErrorResponse>`)
	default:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>refused by the test</Message></Error></Errors></Response>`)
	}
}
