// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Handler serves the control API, for a unix socket that only the owner can open:
//
//	GET    /faults       the rules with their counters
//	POST   /faults       add a rule (JSON), answers the rule with its id
//	DELETE /faults       drop all rules
//	DELETE /faults/{id}  drop one rule
//	GET    /calls        how often each action was called since the start
func Handler(s *Set) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.List()) })
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Calls()) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var rule Rule
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		dec.DisallowUnknownFields()
		err := dec.Decode(&rule)
		if err == nil {
			rule, err = s.Add(rule)
		}
		if err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		answer(w, http.StatusCreated, rule)
	})
	remove := func(w http.ResponseWriter, r *http.Request) {
		n := s.Remove(r.PathValue("id"))
		if n == 0 && r.PathValue("id") != "" {
			answer(w, http.StatusNotFound, map[string]string{"error": "there is no fault with the id " + r.PathValue("id")})
			return
		}
		answer(w, http.StatusOK, map[string]int{"removed": n})
	}
	mux.HandleFunc("DELETE /faults", remove)
	mux.HandleFunc("DELETE /faults/{id}", remove)
	return mux
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// Client talks to the control socket of a running local cloud.
type Client struct {
	http *http.Client
}

// NewClient makes a client of a unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Add adds a rule and returns it with its id.
func (c *Client) Add(ctx context.Context, rule Rule) (Rule, error) {
	err := c.do(ctx, http.MethodPost, "/faults", rule, &rule)
	return rule, err
}

// List returns the rules.
func (c *Client) List(ctx context.Context) ([]Rule, error) {
	var rules []Rule
	err := c.do(ctx, http.MethodGet, "/faults", nil, &rules)
	return rules, err
}

// Clear drops one rule, or all when id is empty.
func (c *Client) Clear(ctx context.Context, id string) error {
	to := "/faults"
	if id != "" {
		to += "/" + url.PathEscape(id)
	}
	return c.do(ctx, http.MethodDelete, to, nil, nil)
}

// Calls returns how often each action was called.
func (c *Client) Calls(ctx context.Context) (map[string]int, error) {
	var calls map[string]int
	err := c.do(ctx, http.MethodGet, "/calls", nil, &calls)
	return calls, err
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) (err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask the local cloud: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://local"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the local cloud: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the local cloud (is it running?): %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask the local cloud: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var refused struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(data, &refused)
		return fmt.Errorf("local cloud refuses: %s", refused.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
