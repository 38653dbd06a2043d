// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

func setUp(t *testing.T, status *atomic.Int64) (Options, *atomic.Int64, *bytes.Buffer) {
	var calls atomic.Int64
	var srv *httptest.Server
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if s := int(status.Load()); s != 200 {
			w.WriteHeader(s)
			return
		}
		if r.URL.Path == "/api"+wire.PathChallenge {
			_ = json.NewEncoder(w).Encode(wire.Challenge{Enrolment: wire.EnrolLegacy})
		}
		if r.URL.Path == "/api/oauth2" {
			_ = json.NewEncoder(w).Encode(wire.OAuthResponse{AccessToken: "acc3ss", ExpiresIn: 60, Mode: "http", ShardID: 3, APIURL: srv.URL + "/api"})
		}
	}))
	t.Cleanup(srv.Close)
	root := paths.Root(t.TempDir())
	text := "client_id='7'\nclient_secret='t0ken'\naccount='71'\napi_hostname='" + strings.TrimPrefix(srv.URL, "https://") + "'\n"
	require.NoError(t, atomicfile.WriteMkdir(root.Identity(), []byte(text), 0o600, 0o755))
	logs := &bytes.Buffer{}
	return Options{
		Root: root, Version: "0.1.0", Clock: clock.NewFake(time.Unix(1_800_000_000, 0)),
		Log: slog.New(slog.NewTextHandler(logs, nil)), Transport: srv.Client().Transport,
	}, &calls, logs
}

func TestEnrolOnce(t *testing.T) {
	var status atomic.Int64
	status.Store(200)
	opt, calls, logs := setUp(t, &status)
	facts, err := Run(t.Context(), opt)
	require.NoError(t, err)
	require.Equal(t, ExitOK, ExitCode(err))
	require.Equal(t, int64(3), facts.ShardID)
	n := calls.Load()
	again, err := Run(t.Context(), opt)
	require.NoError(t, err)
	require.Equal(t, facts, again)
	require.Equal(t, n, calls.Load(), "no call the second time")

	for _, file := range []string{opt.Root.Session(), opt.Root.Enrollment()} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(text), "t0ken")
		require.NotContains(t, string(text), "acc3ss")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	require.NotContains(t, logs.String(), "t0ken")
	require.NotContains(t, logs.String(), "acc3ss")

	// A new token is a new enrolment.
	require.NoError(t, os.WriteFile(opt.Root.Identity(), bytes.Replace(must(os.ReadFile(opt.Root.Identity())), []byte("t0ken"), []byte("t1ken"), 1), 0o600))
	_, err = Run(t.Context(), opt)
	require.NoError(t, err)
	require.Greater(t, calls.Load(), n)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestGivesUp(t *testing.T) {
	var status atomic.Int64
	status.Store(503)
	opt, _, _ := setUp(t, &status)
	opt.Timeout = time.Hour
	_, err := Run(t.Context(), opt)
	require.ErrorIs(t, err, ErrGaveUp)
	require.Equal(t, ExitGaveUp, ExitCode(err))
	var f first
	require.NoError(t, json.Unmarshal(must(os.ReadFile(opt.Root.Enrollment())), &f))
	require.Equal(t, int64(1_800_000_000), f.StartedAt)
	require.Equal(t, int64(3600), f.Retry)

	// The first run's options stay.
	status.Store(200)
	opt.Timeout = time.Minute
	_, err = Run(t.Context(), opt)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(must(os.ReadFile(opt.Root.Enrollment())), &f))
	require.Equal(t, int64(1_800_000_000), f.StartedAt)
}

func TestInterruptedAndUsage(t *testing.T) {
	var status atomic.Int64
	status.Store(401)
	opt, _, _ := setUp(t, &status)
	ctx, cancel := context.WithCancel(t.Context())
	opt.Clock.(*clock.Fake).OnSleep = func(time.Duration) { cancel() }
	_, err := Run(ctx, opt)
	require.Equal(t, ExitInterrupted, ExitCode(err))
	require.NoError(t, os.Remove(opt.Root.Identity()))
	_, err = Run(t.Context(), opt)
	require.ErrorIs(t, err, identity.ErrAbsent)
	require.Equal(t, ExitUsage, ExitCode(err))
}
