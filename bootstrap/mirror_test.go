// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/mirrors"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

// mirror is a repository behind a web server that can be told to misbehave.
type mirror struct {
	*httptest.Server
	repo *repo.Repo

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) bool
	seen   []string
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	r, err := repo.Init(t.TempDir(), repo.Keys{Dir: filepath.Join(t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(t, err)
	return mirrorOf(t, r)
}

func mirrorOf(t *testing.T, r *repo.Repo) *mirror {
	t.Helper()
	m := &mirror{repo: r}
	files := http.FileServer(http.Dir(r.Dir))
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		m.mu.Lock()
		m.seen = append(m.seen, req.URL.Path)
		answer := m.answer
		m.mu.Unlock()
		if answer == nil || !answer(w, req) {
			files.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) add(t *testing.T, name, text string, channels ...string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	_, err := m.repo.Add([]string{path}, channels)
	require.NoError(t, err)
}

// trusting gives a root what the provisioner puts in.
func (m *mirror) trusting(t *testing.T, root string, addresses ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.repo.Dir, "metadata/1.root.json"))
	require.NoError(t, err)
	put(t, root, "etc/rightscale.d/mirror/root.json", string(text), 0o644)
	put(t, root, "etc/rightscale.d/mirror/mirrors", strings.Join(addresses, "\n")+"\n", 0o644)
}

func broken(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusInternalServerError)
	return true
}

// newPC is newRoot with programs for amd64.
func newPC(t *testing.T) string {
	t.Helper()
	root := newRoot(t)
	put(t, root, "bin/sh", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00", 0o755)
	return root
}

func debName(t *testing.T, root, version string) string {
	t.Helper()
	arch, err := detectArch(root)
	require.NoError(t, err)
	return "rightlink_" + version + "_" + arch + ".deb"
}

func TestInstallFromMirror(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	name := debName(t, root, "0.2.0")
	m.add(t, name, "the package 0.2.0")
	down := mirrorOf(t, m.repo)
	down.answer = broken
	m.trusting(t, root, down.URL, m.URL)
	out, run := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
	require.Contains(t, strings.Join(run.argv, "\n"), "-i "+filepath.Join(root, "root/.rightscale", name))
	require.Equal(t, "the package 0.2.0", read(t, root, "root/.rightscale/"+name))
	require.Contains(t, read(t, root, "var/lib/rightscale/mirror/health.json"), "500", "what failed is remembered")
	seen := len(down.seen)

	// The next time the bad mirror comes last, and what is in the cache stays.
	require.NoError(t, os.Remove(filepath.Join(root, "root/.rightscale", name)))
	require.NoError(t, os.Remove(filepath.Join(root, "var/lib/dpkg/rightlink")))
	require.NoError(t, os.Remove(filepath.Join(root, "opt/rightscale/bin/rightlink")))
	do(t, root, "rightimage")
	require.Len(t, down.seen, seen)
}

func TestChannel(t *testing.T) {
	newMetadata(t, query+"&RS_version=stable")
	m := newMirror(t)
	root := newPC(t)
	m.add(t, debName(t, root, "0.3.0"), "3", "stable")
	m.add(t, debName(t, root, "0.4.0"), "4", "beta")
	m.trusting(t, root, m.URL)
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.3.0 installed", out.Detail)
}

// TestMirrorFaults: whatever a mirror does, the stage ends in time, tells why,
// and the cache does in its place where it can.
func TestMirrorFaults(t *testing.T) {
	suffix := func(s string, fn func(w http.ResponseWriter, r *http.Request)) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, s) {
				return false
			}
			fn(w, r)
			return true
		}
	}
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		text   string
		other  bool // the root of trust is another's
	}{
		"wrong digest": {answer: suffix(".deb", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("xxx")) }), text: fetch.ErrDigest.Error()},
		"truncated": {answer: suffix(".deb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			_, _ = w.Write([]byte("p"))
		}), text: "unexpected EOF"},
		"endless":   {answer: suffix(".deb", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("pkg and more")) }), text: fetch.ErrTooLong.Error()},
		"missing":   {answer: suffix(".deb", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }), text: "404"},
		"wrong key": {other: true, text: "metadata refused"},
	} {
		t.Run(name, func(t *testing.T) {
			newMetadata(t, query+"&RS_version=0.2.0")
			root := newPC(t)
			m := newMirror(t)
			m.add(t, debName(t, root, "0.2.0"), "pkg")
			m.answer = tc.answer
			m.trusting(t, root, m.URL)
			if tc.other {
				newMirror(t).trusting(t, root, m.URL)
			}
			a := agent(root, &machine{root: root})
			ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond) // the second try would come later
			defer cancel()
			_, err := a.Do(ctx, "rightimage")
			require.Error(t, err)
			s, err := status.Load(root)
			require.NoError(t, err)
			st, _ := s.Stage("rightimage")
			require.Equal(t, status.Failed, st.Result)
			health, err := os.ReadFile(filepath.Join(root, "var/lib/rightscale/mirror/health.json"))
			require.NoError(t, err)
			require.Contains(t, string(health), tc.text)
			require.NoFileExists(t, filepath.Join(root, "root/.rightscale", debName(t, root, "0.2.0")))

			// An image that has a RightLink keeps it, and says so.
			put(t, root, "opt/rightscale/bin/rightlink", "", 0o755)
			put(t, root, "var/lib/dpkg/rightlink", "ii  0.1.0\n", 0o644)
			m.answer = broken
			root2 := a
			ctx, cancel = context.WithTimeout(context.Background(), 400*time.Millisecond)
			defer cancel()
			out, err := root2.Do(ctx, "rightimage")
			require.NoError(t, err)
			require.Contains(t, out.Detail, "RightLink 0.1.0 stays")
		})
	}
}

// TestDamagedCache: a mirror repairs what the image's cache has lost.
func TestDamagedCache(t *testing.T) {
	newMetadata(t, query)
	root := newPC(t)
	m := newMirror(t)
	name := debName(t, root, "0.1.0")
	m.add(t, name, "package")
	m.trusting(t, root, m.URL)
	put(t, root, "root/.rightscale/"+name, "damaged", 0o600)
	put(t, root, "root/.rightscale/"+name+".sha256", strings.Repeat("0", 64)+"\n", 0o600)
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.1.0 installed", out.Detail)
	require.Equal(t, "package", read(t, root, "root/.rightscale/"+name))
}

// TestDeveloper: RS_src works for what is signed; for the rest only the image
// decides.
func TestDeveloper(t *testing.T) {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("dev build")) }))
	defer files.Close()
	address := files.URL + "/rightscale_mybranch.tgz"
	newMetadata(t, query+"&RS_version=0.1.0&RS_src="+address)
	root := newPC(t)
	m := newMirror(t)
	m.trusting(t, root, m.URL)
	_, err := agent(root, &machine{root: root}).Do(context.Background(), "rightimage")
	require.ErrorIs(t, err, mirrors.ErrUntrusted)
	require.NoFileExists(t, filepath.Join(root, "root/.rightscale/rightscale_mybranch.tgz"))

	put(t, root, "etc/rightscale.d/mirror/allow-unsigned", "", 0o444)
	_, err = agent(root, &machine{root: root}).Do(context.Background(), "rightimage")
	require.ErrorIs(t, err, packages.ErrTarball, "it was fetched, and is no tarball")
	require.NoError(t, os.Remove(filepath.Join(root, "etc/rightscale.d/mirror/allow-unsigned")))

	// Signed, its bytes may come from where RS_src says.
	newMetadata(t, query+"&RS_src="+files.URL+"/"+debName(t, root, "0.9.0"))
	m.add(t, debName(t, root, "0.9.0"), "dev build")
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".deb") {
			http.NotFound(w, r)
			return true
		}
		return false
	}
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.9.0 installed", out.Detail)
}

// TestRotatedTwice: an image that was made before two rotations of the root
// installs from the mirror as it is today.
func TestRotatedTwice(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.trusting(t, root, m.URL)
	require.NoError(t, m.repo.Rotate("root", "targets", "snapshot", "timestamp"))
	require.NoError(t, m.repo.Rotate("root", "timestamp"))
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
}
