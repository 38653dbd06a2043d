// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package faults

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/rltest"
)

const (
	loginKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5L1RJTSVJ0F6SMgSWm7tt8QQVRcTvMIWoJRcuDW/Dm demo"
	release  = "0.1.0"
	tarball  = "rightlink_" + release + "_amd64.tar.gz"
)

// answer stands in for a service's own; false leaves the answer to the service.
type answer func(w http.ResponseWriter, r *http.Request) bool

// service is a web service, of which answers can be replaced.
type service struct {
	http.Handler

	mu     sync.Mutex
	answer answer
}

func (s *service) spoil(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer == nil || !answer(w, r) {
		s.Handler.ServeHTTP(w, r)
	}
}

// machine is a root directory as the provisioner leaves it, and the three
// services that its stages speak to.
type machine struct {
	t    *testing.T
	root string

	metadata, mirror, platform *service
	metadataURL                string
	repo                       *repo.Repo
	accepts                    *rltest.Platform
	// mirrors and server are what image and launch say of mirror and platform.
	mirrors string
	server  atomic.Pointer[string]
}

// newMachine has healthy services, and no package in its cache.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), accepts: rltest.New(t)}
	m.metadata = &service{Handler: http.HandlerFunc(m.describe)}
	m.platform = &service{Handler: m.accepts}
	var err error
	m.repo, err = repo.Init(t.TempDir(), repo.Keys{Dir: filepath.Join(t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(t, err)
	m.mirror = &service{Handler: http.FileServer(http.Dir(m.repo.Dir))}
	m.publish()

	metadata, mirror, platform := httptest.NewServer(m.metadata), httptest.NewServer(m.mirror), httptest.NewTLSServer(m.platform)
	for _, s := range []*httptest.Server{metadata, mirror, platform} {
		t.Cleanup(s.Close)
		t.Cleanup(s.CloseClientConnections) // before it, for it waits for them
	}
	m.metadataURL, m.mirrors = metadata.URL, mirror.URL
	server := strings.TrimPrefix(platform.URL, "https://")
	m.server.Store(&server)
	m.image(platform)
	return m
}

// packed is the real agent as a package.
var packed = sync.OnceValues(func() (file string, err error) {
	file = filepath.Join(programs, tarball)
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	in := build.Input{Version: release, Arch: "amd64", Binary: filepath.Join(programs, "rightlink"), Time: time.Unix(1_800_000_000, 0)}
	return file, errors.Join(build.Tarball(f, in), f.Close())
})

// publish adds it to the mirror.
func (m *machine) publish() {
	m.t.Helper()
	file, err := packed()
	require.NoError(m.t, err)
	_, err = m.repo.Add([]string{file}, []string{"stable"})
	require.NoError(m.t, err)
}

// image writes what the provisioner puts in. There is no dpkg, so that packages
// are tarballs and everything happens below the root.
func (m *machine) image(platform *httptest.Server) {
	m.t.Helper()
	root, err := os.ReadFile(m.repo.RootFile())
	require.NoError(m.t, err)
	for name, text := range map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=12\n", "etc/debian_version": "12.8\n", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
		"etc/hosts": "127.0.0.1 localhost\n", "etc/rightscale.d/cloud": "ec2", "etc/rightscale.d/rightscale-release": release,
		"etc/rightscale.d/mirror/root.json": string(root), "usr/lib/systemd/systemd": "", "run/.keep": "", "var/spool/.keep": "", "root/.profile": "",
		"bin/sh":                   "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
		"etc/rightscale.d/ca.pem":  certificate(platform.Certificate().Raw),
		"etc/systemd/system/.keep": "",
	} {
		m.write(name, text)
	}
	require.NoError(m.t, os.MkdirAll(filepath.Join(m.root, "sbin"), 0o755))
	require.NoError(m.t, os.Symlink("/usr/lib/systemd/systemd", filepath.Join(m.root, "sbin/init")))
	m.boot("boot-1")
}

func certificate(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o600))
}

func (m *machine) read(name string) string {
	text, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		return ""
	}
	return string(text)
}

// boot empties what a boot empties.
func (m *machine) boot(id string) {
	m.t.Helper()
	require.NoError(m.t, os.RemoveAll(filepath.Join(m.root, "run")))
	m.write("run/.keep", "")
	m.write("proc/sys/kernel/random/boot_id", id+"\n")
}

// describe is the metadata service.
func (m *machine) describe(w http.ResponseWriter, r *http.Request) {
	body, ok := map[string]string{
		"/latest/api/token": "token", "/latest/meta-data/": "instance-id\nlocal-ipv4\npublic-keys/",
		"/latest/meta-data/instance-id": "i-0aaa", "/latest/meta-data/local-ipv4": "10.0.0.7",
		"/latest/meta-data/public-keys/": "0=demo", "/latest/meta-data/public-keys/0/": "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key": loginKey,
		"/latest/user-data":                           fmt.Sprintf("RS_rn_id=%s&RS_rn_auth=%s&RS_account=71&RS_server=%s", m.accepts.ClientID, m.accepts.Secret, *m.server.Load()),
	}[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = fmt.Fprint(w, body)
}

// run starts a program of the image and waits for its end, up to the bound. It
// returns what it said, which never holds the token.
func (m *machine) run(bound time.Duration, name string, args ...string) (string, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, name), append([]string{"--root", m.root}, args...)...)
	cmd.Env = append(os.Environ(), cloud.EndpointEnv+"="+m.metadataURL)
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, ctx.Err(), "%s %v does not end within %s: %s", name, args, bound, out)
	require.NotContains(m.t, string(out), m.accepts.Secret)
	return string(out), err
}

// stages runs stages as a boot does, one after another, whatever comes of them,
// each within the bound. It returns their results and all that the machine tells
// about them.
func (m *machine) stages(bound time.Duration, names ...string) (results map[string]status.Result, told string) {
	m.t.Helper()
	m.write("etc/rightscale.d/mirror/mirrors", m.mirrors+"\n")
	if !strings.Contains(m.read("etc/systemd/system/rightimage.service"), "rightimage") {
		out, err := m.run(time.Minute, "bootstrap", "register", "--image")
		require.NoError(m.t, err, out)
	}
	results = map[string]status.Result{}
	for _, name := range names {
		args := []string{name}
		if name == "rightlink" {
			args = append(args, "--timeout", enrolTime.String())
		}
		out, err := m.run(bound, "bootstrap", args...)
		s, loadErr := status.Load(m.root)
		require.NoError(m.t, loadErr)
		st, ok := s.Stage(name)
		require.True(m.t, ok, "the status file does not know stage %s: %s", name, out)
		require.Equal(m.t, err != nil, st.Result == status.Failed, "%s: %v: %s", name, err, out)
		require.NotEqual(m.t, status.Running, st.Result, name)
		results[name] = st.Result
		told += name + ": " + st.Detail + "\n"
	}
	require.NotContains(m.t, m.read("var/lib/rightscale/status.json"), m.accepts.Secret)
	return results, told + m.read("var/lib/rightscale/mirror/health.json")
}

// login says that the key chosen at launch is in place.
func (m *machine) login() bool {
	return strings.Contains(m.read("root/.ssh/authorized_keys"), loginKey)
}
