// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// idleTimeout ends a download that brings nothing for so long. There is no
// limit for the whole: attachments can be large and networks slow.
const idleTimeout = answerTimeout

// Download writes the content of an attachment to w and returns how much it
// wrote. It tries once: the caller knows how to take back what w got.
func (s *Session) Download(ctx context.Context, a wire.Attachment, reposeServers []string, w io.Writer) (int64, error) {
	target, err := s.attachmentURL(a, reposeServers)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(idleTimeout, cancel)
	defer idle.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, fmt.Errorf("attachment %s: %w", a.FileName, err)
	}
	s.headers(req, "Bearer "+a.Token, "")
	req.Header.Del("Accept")
	fail := func(err error) error { return &Error{Method: http.MethodGet, Path: req.URL.Path, Err: err} }
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, fail(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if Classify(resp.StatusCode) != OK {
		return 0, s.failure(http.MethodGet, req.URL.Path, resp)
	}
	n, err := io.Copy(w, watched{resp.Body, idle})
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fail(fmt.Errorf("after %d bytes: %w", n, err))
	}
	return n, nil
}

// watched puts the idle timer back with each part that arrives.
type watched struct {
	r    io.Reader
	idle *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.idle.Reset(idleTimeout)
	}
	return n, err
}

// attachmentURL resolves what the bundle says: a whole URL, a path of the
// platform's host (/api/…), a path below the API (/right_net/…), or, as the
// original has it, a path on one of the bundle's repose servers.
func (s *Session) attachmentURL(a wire.Attachment, reposeServers []string) (string, error) {
	_, base := s.current()
	api, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
	}
	switch {
	case strings.HasPrefix(a.URL, "https://"):
		return a.URL, nil
	case strings.HasPrefix(a.URL, wire.PathAttachments):
		return base + a.URL, nil
	case strings.HasPrefix(a.URL, api.Path+"/"), strings.HasPrefix(a.URL, "/") && len(reposeServers) == 0:
		return api.Scheme + "://" + api.Host + a.URL, nil
	case strings.HasPrefix(a.URL, "/"):
		return "https://" + reposeServers[0] + ":443" + a.URL, nil
	}
	return "", fmt.Errorf("attachment %s: url %q: %w", a.FileName, a.URL, ErrBadURL)
}

// ErrBadURL says that an attachment cannot be fetched from where the bundle
// says; plain http is refused because the request carries a token.
var ErrBadURL = errors.New("want https://… or a path")
