// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

func TestAttestedEnrolment(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	opt := Options{Root: h.root, Version: "0.1.0", Clock: clock.NewFake(time.Now()), Log: slog.New(slog.NewTextHandler(&h.logs, nil)), Transport: s.platform.Client().Transport}
	_, err := Run(t.Context(), opt)
	require.NoError(t, err)
	k := h.keys()
	require.True(t, k.Enrolled)
	require.Equal(t, one, k.InstanceID)
	info, err := os.Stat(h.root.EnrolmentKey())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	info, err = os.Stat(filepath.Dir(h.root.EnrolmentKey()))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	// A reboot: another process, the same key, no token.
	n := s.withToken.Load()
	require.NoError(t, h.enter())
	require.NoError(t, h.enter())
	require.Equal(t, n, s.withToken.Load(), "the token was shown again")
	require.Equal(t, k, h.keys())
	v, err := s.fleet.ServerByName(t.Context(), fleet.DefaultAccount, "web")
	require.NoError(t, err)
	require.Equal(t, one, v.Attestation.InstanceID)

	seed, err := json.Marshal(k.Current)
	require.NoError(t, err)
	require.NotContains(t, h.logs.String(), strings.Trim(string(seed), `"`))
}

// The answer to the first proof is lost: the key is on the disk already, and
// the same key is no second use of the token.
func TestFirstAnswerLost(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	s.spoil.Store(true)
	require.Error(t, h.enter())
	k := h.keys()
	require.False(t, k.Enrolled)
	s.spoil.Store(false)
	require.NoError(t, h.enter())
	require.Equal(t, k.Current, h.keys().Current)
	require.True(t, h.keys().Enrolled)
}

// The agent is killed in each state of a rotation, before and after the platform
// has heard of it.
func TestKilledWhileTheKeyIsReplaced(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	require.NoError(t, h.enter())
	first := h.keys().Current
	s.skew.Store(int64(fleet.DefaultKeyLifetime + time.Minute))
	require.NoError(t, h.enter()) // the platform asks for a new key
	k := h.keys()
	require.NotEmpty(t, k.Next)
	require.False(t, k.NextKnown)
	next := k.Next

	lost := func() {
		t.Helper()
		s.spoil.Store(true)
		require.Error(t, h.enter())
		s.spoil.Store(false)
		require.Equal(t, k, h.keys(), "a lost answer changes nothing on the disk")
	}
	lost() // proposed: the platform knows the key, the agent does not know that
	lost()
	require.NoError(t, h.enter())
	k = h.keys()
	require.True(t, k.NextKnown)
	require.Equal(t, first, k.Current)
	lost() // confirmed: the platform has seen the new key used
	lost()
	require.NoError(t, h.enter())
	k = h.keys()
	require.Equal(t, next, k.Current)
	require.Empty(t, k.Next)
	require.NoError(t, h.enter())
	require.Equal(t, k, h.keys(), "and the platform asks for no other")

	old := *k
	old.Current = first
	require.NoError(t, old.save(h.root))
	require.Error(t, h.enter(), "the old key is no longer good")
}

// A disk with its key in another instance, where nobody has wiped it: the agent
// makes a new key, and the platform knows the token as used.
func TestCopiedDisk(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	require.NoError(t, h.enter())
	original := h.keys()
	h.metadata(two)
	err := h.enter()
	require.ErrorContains(t, err, "was used by "+one)
	require.NotEqual(t, original.Current, h.keys().Current)

	// The key itself does not help either.
	forged := *original
	forged.InstanceID = two
	require.NoError(t, forged.save(h.root))
	require.ErrorContains(t, h.enter(), "its disk was copied")
}

func TestNeverBackToTheToken(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	s.server("old", wire.EnrolLegacy)
	h := s.host(one, "web")
	require.NoError(t, h.enter())
	h.user("old")
	n := s.withToken.Load()
	require.ErrorIs(t, h.enter(), ErrFallback)
	require.Equal(t, n, s.withToken.Load(), "the token was shown")
	require.NoError(t, func() error { h.metadata(two); return h.enter() }(), "another instance may")
	require.Equal(t, n+1, s.withToken.Load())
}

func TestLegacyServer(t *testing.T) {
	s := newSite(t)
	s.server("old", wire.EnrolLegacy)
	h := s.host(one, "old")
	ses := h.session()
	require.NoError(t, ses.Authorize(t.Context()))
	require.NoError(t, ses.Authorize(t.Context()))
	require.NoFileExists(t, h.root.EnrolmentKey())
}

func TestClouds(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	require.NoError(t, atomicfile.WriteMkdir(h.root.Cloud(), []byte("gce"), 0o444, 0o755))
	err := h.enter()
	require.ErrorIs(t, err, ErrNoDocument)
	require.ErrorContains(t, err, "--enrolment legacy")
	require.Equal(t, session.Refused, session.ClassOf(err))
	require.NoError(t, os.Remove(h.root.Cloud()))

	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		class  session.Class
	}{
		"busy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, session.NotResponding},
		"denied":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, session.NotResponding},
		"absent":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, session.Refused},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, session.Refused},
		"endless": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxDocument+2)) }, session.NotResponding},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, session.NotResponding},
	} {
		ts := httptest.NewServer(tc.answer)
		t.Setenv(metadataEnv, ts.URL)
		err := h.enter()
		require.Error(t, err, name)
		require.Equal(t, tc.class, session.ClassOf(err), "%s: %v", name, err)
		ts.Close()
	}
	require.NoFileExists(t, h.root.EnrolmentKey(), "no key without a document")
}

func TestDamagedKeyFile(t *testing.T) {
	s := newSite(t)
	s.server("web", "")
	h := s.host(one, "web")
	require.NoError(t, h.enter())
	require.NoError(t, os.WriteFile(h.root.EnrolmentKey(), []byte("{"), 0o600))
	require.ErrorContains(t, h.enter(), "is damaged")
	text, err := os.ReadFile(h.root.EnrolmentKey())
	require.NoError(t, err)
	require.Equal(t, "{", string(text), "it is left for whoever can restore it")
}

func FuzzLoadKeys(f *testing.F) {
	f.Add([]byte(`{"current":"AAAA","next":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		root := paths.Root(t.TempDir())
		require.NoError(t, atomicfile.WriteMkdir(root.EnrolmentKey(), text, 0o600, 0o700))
		if k, err := loadKeys(root); err == nil && k != nil {
			_, _ = k.inUse(), k.proposal()
		}
	})
}
