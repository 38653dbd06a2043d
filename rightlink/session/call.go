// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Sizes of answers that the agent is ready to hold.
const (
	maxAnswer    = 64 << 20
	maxErrorBody = 2 << 10
)

// call is one request in the terms of the protocol.
type call struct {
	method, path string
	query        url.Values
	in, out      any
	policy       Policy
	// base and version are empty for the API's.
	base, version string
	// lineage is the same for every try of one request.
	lineage string
}

// do makes a call with the token, renewing it once if it is not accepted, and
// repeats by the call's policy.
func (s *Session) do(ctx context.Context, c call) (http.Header, error) {
	c.lineage = uuid.NewString()
	renewed := false
	tries := map[Class]int{}
	for {
		token, base := s.current()
		if c.base != "" {
			base = c.base
		}
		header, err := s.once(ctx, base, c, "Bearer "+token.Reveal())
		if err == nil || ctx.Err() != nil {
			return header, err
		}
		class := ClassOf(err)
		if class == Unauthorized || class == Expired || class == Moved {
			if renewed {
				return nil, err
			}
			renewed = true
			if renewal := s.renewUnless(ctx, token); renewal != nil {
				return nil, fmt.Errorf("%w (renewing the session: %w)", err, renewal)
			}
			continue
		}
		schedule, ok := c.policy[class]
		if !ok || !schedule.Allows(tries[class]) {
			return nil, err
		}
		wait := schedule.Wait(tries[class], s.opt.Chance(), retryAfterOf(err))
		s.opt.Log.Info("calling the platform again", "call", c.method+" "+c.path, "wait", wait, "error", err)
		if serr := s.opt.Clock.Sleep(ctx, wait); serr != nil {
			return nil, errors.Join(err, serr)
		}
		tries[class]++
		if class == RetryOnce {
			c.lineage += ":retry"
		}
	}
}

// once sends the request and reads the answer.
func (s *Session) once(ctx context.Context, base string, c call, authorization string) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var body io.Reader
	if c.in != nil {
		raw, err := json.Marshal(c.in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.method, c.path, err)
		}
		body = bytes.NewReader(raw)
	}
	target := base + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.method, c.path, err)
	}
	s.headers(req, authorization, c.lineage)
	if c.version != "" {
		req.Header.Set(wire.HeaderAPIVersion, c.version)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, &Error{Method: c.method, Path: c.path, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	s.opt.OnContact(s.opt.Clock.Now())
	if Classify(resp.StatusCode) != OK {
		return resp.Header, s.failure(c.method, c.path, resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, &Error{Method: c.method, Path: c.path, Err: fmt.Errorf("read the answer: %w", err)}
	case len(raw) > maxAnswer:
		return nil, &Error{Method: c.method, Path: c.path, Status: http.StatusOK, Err: errBadAnswer, Body: "the answer is too long"}
	case c.out == nil || len(raw) == 0 || resp.StatusCode == http.StatusNoContent:
		return resp.Header, nil
	}
	if err := json.Unmarshal(raw, c.out); err != nil {
		return nil, &Error{Method: c.method, Path: c.path, Status: resp.StatusCode, Err: errBadAnswer, Body: "the answer is not the JSON expected: " + err.Error()}
	}
	return resp.Header, nil
}

func (s *Session) headers(req *http.Request, authorization, lineage string) {
	h := req.Header
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	h.Set(wire.HeaderAPIVersion, wire.APIVersion)
	h.Set(wire.HeaderRightLinkID, s.opt.Identity.ClientID)
	h.Set("User-Agent", "RightLink v"+s.opt.Version)
	h.Set("Accept", "application/json")
	if req.Body != nil {
		h.Set("Content-Type", "application/json")
	}
	if lineage != "" {
		h.Set(wire.HeaderLineage, lineage)
	}
}

// failure turns an answer into an *Error. What the agent keeps secret is
// taken out of the text, should the platform have echoed it.
func (s *Session) failure(method, path string, resp *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	token, _ := s.current()
	text := strings.TrimSpace(string(raw))
	for _, hidden := range []secret.String{token, s.opt.Identity.ClientSecret} {
		if hidden != "" {
			text = strings.ReplaceAll(text, hidden.Reveal(), hidden.String())
		}
	}
	return &Error{
		Method: method, Path: path, Status: resp.StatusCode, Body: text,
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), s.opt.Clock.Now()),
	}
}

// oauth posts the authorisation to base. A redirect is returned as moved.
func (s *Session) oauth(ctx context.Context, base, query string) (answer wire.OAuthResponse, moved *url.URL, err error) {
	var header http.Header
	grant, err := s.opt.Credential.Grant(ctx, func(ctx context.Context, path string, in, out any) (err error) {
		header, err = s.once(ctx, base, call{method: http.MethodPost, path: path, lineage: uuid.NewString(), in: in, out: out}, "")
		return err
	})
	if err != nil {
		moved, err = movedTo(header, err)
		return answer, moved, err
	}
	grant.Body.AccountID = s.opt.Identity.AccountID()
	grant.Body.RSVersion, grant.Body.RightLinkVersion = wire.ProtocolVersion, s.opt.Version
	c := call{method: http.MethodPost, path: wire.PathOAuth2, lineage: uuid.NewString(), in: grant.Body, out: &answer}
	c.query, err = url.ParseQuery(query)
	if err != nil {
		return answer, nil, &Error{Method: c.method, Path: c.path, Err: err}
	}
	header, err = s.once(ctx, base, c, grant.Authorization)
	if err == nil && grant.Accepted != nil && answer.AccessToken != "" {
		grant.Accepted(answer)
	}
	moved, err = movedTo(header, err)
	return answer, moved, err
}

// movedTo returns where a redirect leads; any other error stays one.
func movedTo(header http.Header, err error) (*url.URL, error) {
	if ClassOf(err) != Moved {
		return nil, err
	}
	// The token travels with the next request, so it must stay encrypted.
	moved, perr := url.Parse(header.Get("Location"))
	if perr != nil || moved.Host == "" || moved.Scheme != "https" {
		return nil, fmt.Errorf("%w: Location %q is not an absolute https URL", err, header.Get("Location"))
	}
	return moved, nil
}
