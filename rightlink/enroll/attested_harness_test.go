// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
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
	_, err = s.fleet.UploadTemplate(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
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
	doc, err := h.fleet.UserData(h.t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, server, userdata.FormQuery, "h")
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
