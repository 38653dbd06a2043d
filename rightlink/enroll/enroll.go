// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package enroll makes the instance known to its platform: it exchanges the
// enrolment token for a session once, and saves what it learned.
package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// DefaultTimeout is how long the original tries.
const DefaultTimeout = 96 * time.Hour

// Exit codes of the command; the original's -1 and -2 as a shell sees them.
const (
	ExitOK          = 0
	ExitUsage       = 1
	ExitGaveUp      = 255
	ExitInterrupted = 254
)

// ErrGaveUp says that the platform did not accept the agent in time.
var ErrGaveUp = errors.New("gave up")

// Options of an enrolment.
type Options struct {
	Root    paths.Root
	Version string
	// Timeout is the total time; 0 for DefaultTimeout.
	Timeout time.Duration
	Clock   clock.Clock
	Log     *slog.Logger
	// Transport is nil except in tests.
	Transport http.RoundTripper
}

// Facts is session.js: what the enrolment brought. It holds no secret.
type Facts struct {
	Identity string `json:"identity"`
	ClientID string `json:"client_id"`
	session.Facts
	Version    string `json:"right_link_version"`
	EnrolledAt int64  `json:"enrolled_at"`
}

// first is enrollment_state.js: the options of the first run.
type first struct {
	ID        string `json:"id"`
	Account   string `json:"account"`
	APIURL    string `json:"api_url"`
	Retry     int64  `json:"retry"` // seconds
	StartedAt int64  `json:"started_at"`
	// Identity tells which enrolment this is about; the hash of the token.
	Identity string `json:"identity"`
}

// Run enrols the instance. It does nothing when this identity is enrolled
// already, so it may run before every start of the agent, platform or not.
func Run(ctx context.Context, opt Options) (Facts, error) {
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	id, err := identity.Load(opt.Root.Identity())
	if err != nil {
		return Facts{}, err
	}
	if facts, err := Load(opt.Root); err == nil && facts.Identity == id.AgentID() {
		opt.Log.Info("enrolled already", "identity", facts.Identity, "api_url", facts.APIURL)
		return facts, nil
	}
	if err := begin(opt, id); err != nil {
		return Facts{}, err
	}
	s, err := session.New(session.Options{
		Identity: id, Version: opt.Version, CAFile: opt.Root.CA(), Log: opt.Log, Transport: opt.Transport,
		Credential: NewCredential(opt.Root, id, opt.Log),
		Clock:      limit{Clock: opt.Clock, until: opt.Clock.Now().Add(opt.Timeout)},
	})
	if err != nil {
		return Facts{}, err
	}
	if err := connect(ctx, s, opt.Timeout); err != nil {
		return Facts{}, fmt.Errorf("enrol with %s: %w", id.APIHostname, err)
	}
	facts, err := Save(opt.Root, id, s.Facts(), opt.Version, opt.Clock.Now())
	if err != nil {
		return Facts{}, err
	}
	opt.Log.Info("enrolled", "identity", facts.Identity, "api_url", facts.APIURL, "shard", facts.ShardID)
	return facts, nil
}

// connect authorises within the timeout; a try that hangs does not outlive it.
func connect(ctx context.Context, s *session.Session, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrGaveUp)
	defer cancel()
	err := s.Connect(ctx, session.EnrollPolicy())
	if err != nil && errors.Is(context.Cause(ctx), ErrGaveUp) {
		return fmt.Errorf("%w: %w", ErrGaveUp, err)
	}
	return err
}

// limit is a clock that gives up instead of sleeping beyond the end.
type limit struct {
	clock.Clock
	until time.Time
}

func (l limit) Sleep(ctx context.Context, d time.Duration) error {
	if l.Now().Add(d).After(l.until) {
		return ErrGaveUp
	}
	return l.Clock.Sleep(ctx, d)
}

// begin saves the options of the first run; a later run of the same identity
// leaves them as they are.
func begin(opt Options, id identity.Identity) error {
	var old first
	if text, err := os.ReadFile(opt.Root.Enrollment()); err == nil && json.Unmarshal(text, &old) == nil && old.Identity == id.AgentID() {
		return nil
	}
	f := first{
		ID: id.ClientID, Account: id.Account, APIURL: id.APIURL(), Retry: int64(opt.Timeout / time.Second),
		StartedAt: opt.Clock.Now().Unix(), Identity: id.AgentID(),
	}
	return save(opt.Root.Enrollment(), f)
}

// Save writes what an authorisation brought. The agent does so too, should it
// have started without an enrolment.
func Save(root paths.Root, id identity.Identity, s session.Facts, version string, at time.Time) (Facts, error) {
	f := Facts{Identity: id.AgentID(), ClientID: id.ClientID, Facts: s, Version: version, EnrolledAt: at.Unix()}
	return f, save(root.Session(), f)
}

// Load reads what an earlier enrolment saved.
func Load(root paths.Root) (Facts, error) {
	var f Facts
	text, err := os.ReadFile(root.Session())
	if err != nil {
		return f, fmt.Errorf("read the enrolment: %w", err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("read the enrolment %s: %w", root.Session(), err)
	}
	return f, nil
}

func save(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteMkdir(path, append(text, '\n'), 0o600, 0o700)
}

// ExitCode returns the exit code for the outcome of Run.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrGaveUp):
		return ExitGaveUp
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitUsage
}
