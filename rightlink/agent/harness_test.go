// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// brisk is the real time with short waits, so that back-off is quick and the
// order of events real.
type brisk struct{ clock.Real }

func (brisk) Sleep(ctx context.Context, d time.Duration) error {
	if d > 50*time.Minute { // the renewal of the session
		return clock.Real{}.Sleep(ctx, d)
	}
	return clock.Real{}.Sleep(ctx, min(d, 5*time.Millisecond))
}

// machine answers what ends it; without jobs its service is restarted.
type machine struct{ jobs string }

const (
	serviceRestart = "13 rightlink.service restart running"
	serviceStop    = "13 rightlink.service stop running"
)

func (m machine) Run(_ context.Context, name string, _ ...string) (string, error) {
	switch {
	case name != "systemctl":
		return "", errors.New("not found")
	case m.jobs == "":
		return serviceRestart, nil
	}
	return m.jobs, nil
}

type noPackages struct{}

func (noPackages) Install(context.Context, []string) error { return nil }

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// life runs an agent until the condition holds and the context ends.
func life(t *testing.T, root paths.Root, jobs string, until func() bool) string {
	t.Helper()
	return lifeWith(t, Options{Root: root, Clock: brisk{}, Commands: machine{jobs}}, until)
}

func lifeWith(t *testing.T, opt Options, until func() bool) string {
	t.Helper()
	logs := &buffer{}
	opt.Version, opt.Log, opt.Packages = "0.1.0", slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})), noPackages{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opt) }()
	require.Eventually(t, until, 20*time.Second, 2*time.Millisecond, "log: %v", logs)
	cancel()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end; log: " + logs.String())
	}
	return logs.String()
}

func script(name, source string) wire.RightScript {
	return wire.RightScript{Nickname: name, Source: "#!/bin/sh\n" + source + "\n", Ready: true, ID: int64(len(name)*100 + len(source))}
}

const (
	oauth  = "POST /api/oauth2"
	self   = "GET /api/sessions/instance"
	decl   = "POST /api/right_net/booter/declare"
	record = "PUT /api/right_net/state_recorder/record"
	boot   = "GET /api/right_net/booter/get_boot_bundle"
	decom  = "GET /api/right_net/booter/get_decommission_bundle"
)

const reboots = "12 reboot.target start waiting\n"
