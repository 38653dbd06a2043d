// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/api"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// site is the real platform and a cloud's metadata service.
type site struct {
	t         *testing.T
	fleet     *fleet.Service
	platform  *httptest.Server
	authority *imds.Authority
	skew      atomic.Int64
	// spoil, when set, breaks the connection of the answer to an OAuth call.
	spoil atomic.Bool
	// withToken counts OAuth calls that showed the token.
	withToken atomic.Int64
}

func newSite(t *testing.T) *site {
	s := &site{t: t}
	dir := t.TempDir()
	var err error
	s.fleet, err = fleet.Open(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.fleet.Close()) })
	s.fleet.Now = func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }
	s.authority, err = imds.OpenAuthority(dir)
	require.NoError(t, err)
	file := filepath.Join(dir, "identity-certificate.pem")
	require.NoError(t, os.WriteFile(file, s.authority.Certificate(), 0o600))
	s.fleet.Attest.Trust.Files = []string{file}
	tmpl, err := servertemplate.Load("../../platform/servertemplate/testdata/web/web.yml")
	require.NoError(t, err)
	_, err = s.fleet.UploadTemplate(t.Context(), fleet.DefaultAccount, tmpl)
	require.NoError(t, err)
	handler := api.New(s.fleet, api.Options{Log: slog.New(slog.DiscardHandler)}).Handler()
	s.platform = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			s.withToken.Add(1)
		}
		if r.URL.Path == "/api"+wire.PathOAuth2 && s.spoil.Load() {
			handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.platform.Close)
	return s
}

// host is an instance: a disk, and the cloud's word about it.
type host struct {
	*site
	root paths.Root
	logs bytes.Buffer
}

// server creates a server; user writes its user-data to a host.
func (s *site) server(name, enrolment string) {
	_, err := s.fleet.CreateServer(s.t.Context(), fleet.DefaultAccount, fleet.ServerSpec{Name: name, Template: "Test web", Enrolment: enrolment})
	require.NoError(s.t, err)
}

func (s *site) host(uid, server string) *host {
	h := &host{site: s, root: paths.Root(s.t.TempDir())}
	h.metadata(uid)
	h.user(server)
	return h
}

// metadata starts the metadata service of an instance; the environment leads
// the agent there.
func (h *host) metadata(uid string) {
	srv, err := imds.New(imds.Instance{ID: uid, ImageID: "ami-1", Account: "123456789012", Region: "eu-west-1", LaunchTime: time.Now(), Authority: h.authority}, nil)
	require.NoError(h.t, err)
	ts := httptest.NewServer(srv)
	h.t.Cleanup(ts.Close)
	h.t.Setenv(metadataEnv, ts.URL)
}

func (h *host) user(server string) {
	doc, err := h.fleet.UserData(h.t.Context(), fleet.DefaultAccount, server, userdata.FormQuery, "h")
	require.NoError(h.t, err)
	settings := map[string]string{}
	for _, item := range strings.Split(doc, "&") {
		key, value, _ := strings.Cut(item, "=")
		settings[key] = value
	}
	text := "client_id='" + settings["RS_rn_id"] + "'\nclient_secret='" + settings["RS_rn_auth"] + "'\naccount='1'\napi_hostname='" +
		strings.TrimPrefix(h.platform.URL, "https://") + "'\n"
	require.NoError(h.t, atomicfile.WriteMkdir(h.root.Identity(), []byte(text), 0o600, 0o755))
}

// session is a new process of the agent.
func (h *host) session() *session.Session {
	id, err := identity.Load(h.root.Identity())
	require.NoError(h.t, err)
	log := slog.New(slog.NewTextHandler(&h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	// Each agent has connections of its own.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	h.t.Cleanup(transport.CloseIdleConnections)
	ses, err := session.New(session.Options{Identity: id, Version: "0.1.0", Transport: transport, Log: log, Credential: NewCredential(h.root, id, log)})
	require.NoError(h.t, err)
	return ses
}

func (h *host) enter() error { return h.session().Authorize(context.Background()) }

func (h *host) keys() *keys {
	k, err := loadKeys(h.root)
	require.NoError(h.t, err)
	return k
}

const (
	one = "i-0000000000000001"
	two = "i-0000000000000002"
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
		"busy":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, session.NotResponding},
		"denied":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, session.NotResponding},
		"absent":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, session.Refused},
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, session.Refused},
		"endless":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxDocument+2)) }, session.NotResponding},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound) }, session.NotResponding},
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
