// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tools

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
)

// askTimeout bounds one question to the agent, unless an option says otherwise.
const askTimeout = 2 * time.Minute

// errNotRunning says that nobody answers.
var errNotRunning = errors.New("the agent does not run; \"rightlink status\" tells more")

// ask makes a request to the agent's local API and returns the answer's text.
func (c *call) ask(method, path, body string) (string, error) {
	return c.askWithin(askTimeout, method, path, body)
}

func (c *call) askWithin(limit time.Duration, method, path, body string) (string, error) {
	port, secret, err := c.door()
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(c.ctx, method, "http://127.0.0.1:"+port+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-RLL-Secret", secret)
	req.Header.Set("X-API-Version", "1.5")
	req.Header.Set("Content-Type", "application/json")
	// The agent is on this machine: no proxy of the environment.
	client := &http.Client{Timeout: limit, Transport: &http.Transport{}}
	resp, err := client.Do(req)
	if err != nil {
		if os.IsTimeout(err) {
			return "", fmt.Errorf("no answer within %s", limit)
		}
		return "", fmt.Errorf("%w (%w)", errNotRunning, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("%s", strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// door reads how to reach the agent.
func (c *call) door() (port, secret string, err error) {
	text, err := os.ReadFile(c.Root.Secret())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", errNotRunning
	case errors.Is(err, fs.ErrPermission):
		return "", "", fmt.Errorf("%s needs root: try \"sudo %s\"", c.name, c.name)
	case err != nil:
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "RS_RLL_PORT":
			port = value
		case "RS_RLL_SECRET":
			secret = value
		}
	}
	return port, secret, nil
}
