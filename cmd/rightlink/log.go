// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"strings"
	"sync"
)

// logger writes to standard error, which is the journal where systemd has
// started the agent. Without a journal, an agent writes to syslog too, as
// RightLink with facility user, where that runs.
func logger(stderr io.Writer, level *slog.LevelVar, isAgent bool) *slog.Logger {
	if text := os.Getenv("LOG_LEVEL"); text != "" {
		_ = level.UnmarshalText([]byte(text)) // an unknown word leaves info
	}
	to := stderr
	switch {
	case os.Getenv("JOURNAL_STREAM") != "":
		to = &prefixed{to: stderr}
	case isAgent && os.Getenv("LOG_TO") != "stderr":
		if w, err := syslog.New(syslog.LOG_USER|syslog.LOG_INFO, "RightLink"); err == nil {
			to = io.MultiWriter(stderr, &graded{to: w})
		}
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
}

// priority finds the level in a line of slog's text form.
func priority(line []byte) syslog.Priority {
	switch {
	case bytes.Contains(line, []byte(" level=ERROR ")):
		return syslog.LOG_ERR
	case bytes.Contains(line, []byte(" level=WARN ")):
		return syslog.LOG_WARNING
	case bytes.Contains(line, []byte(" level=DEBUG ")):
		return syslog.LOG_DEBUG
	}
	return syslog.LOG_INFO
}

// prefixed marks each line with its priority, in the way that the journal
// reads.
type prefixed struct {
	mu sync.Mutex
	to io.Writer
}

func (p *prefixed) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.to.Write(append([]byte{'<', '0' + byte(priority(line)), '>'}, line...))
	return len(line), err
}

// graded sends each line to syslog with its priority. A syslog that is away
// must not disturb the agent.
type graded struct{ to *syslog.Writer }

func (g *graded) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	switch priority(line) {
	case syslog.LOG_ERR:
		_ = g.to.Err(text)
	case syslog.LOG_WARNING:
		_ = g.to.Warning(text)
	case syslog.LOG_DEBUG:
		_ = g.to.Debug(text)
	default:
		_ = g.to.Info(text)
	}
	return len(line), nil
}
