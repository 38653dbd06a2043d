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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// failing runs stage rightimage with little time and returns what the status
// file and the mirrors' health say about it.
func failing(t *testing.T, root string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := agent(root, &machine{root: root}).Do(ctx, "rightimage")
	require.Error(t, err)
	health, err := os.ReadFile(filepath.Join(root, "var/lib/rightscale/mirror/health.json"))
	if err != nil {
		health = nil
	}
	return read(t, root, "var/lib/rightscale/status.json") + string(health)
}

// TestStaleMirror: nobody has signed it for too long, or the clock is a year
// ahead; both look the same, and the text says so.
func TestStaleMirror(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.repo.Expiry.Timestamp = time.Second
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	m.trusting(t, root, m.URL)
	time.Sleep(1100 * time.Millisecond)
	text := failing(t, root)
	require.Contains(t, text, "timestamp.json expired on")
	require.Contains(t, text, "the clock says "+time.Now().UTC().Format(time.DateOnly))
}

// TestRolledBackMirror: what was seen once is not forgotten over boots, and the
// next mirror is asked.
func TestRolledBackMirror(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	old := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(m.repo.Dir, "metadata/*"))
	require.NoError(t, err)
	for _, f := range files {
		old["/metadata/"+filepath.Base(f)], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	_, err = m.repo.Remove("0.2.0")
	require.NoError(t, err)
	m.trusting(t, root, m.URL)
	require.Contains(t, failing(t, root), "no fitting RightLink package")
	bad := mirrorOf(t, m.repo)
	bad.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".json") {
			if data := old[r.URL.Path]; data != nil {
				_, _ = w.Write(data)
			} else {
				http.NotFound(w, r)
			}
			return true
		}
		return false
	}
	boot(t, root, "boot-2")
	m.trusting(t, root, bad.URL)
	require.Contains(t, failing(t, root), "a rollback")
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	m.trusting(t, root, bad.URL, m.URL)
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
}

// TestNoNames: without a name service a mirror cannot be found; an address works.
func TestNoNames(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	m.trusting(t, root, "https://mirror.invalid/rightlink", m.URL)
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
	require.Contains(t, read(t, root, "var/lib/rightscale/mirror/health.json"), "mirror.invalid")
}

// TestFullDisk: the space is looked at before the first byte.
func TestFullDisk(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	m.trusting(t, root, m.URL)
	cache := filepath.Join(root, "root/.rightscale")
	if err := syscall.Mount("tmpfs", cache, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(cache, syscall.MNT_DETACH) })
	require.Contains(t, failing(t, root), "not enough free space")
	for _, path := range m.seen {
		require.NotContains(t, path, ".deb")
	}
}

// TestProxyOfUserData: mirrors are reached through the launch's proxy.
func TestProxyOfUserData(t *testing.T) {
	m := newMirror(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "mirror.inside" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		http.FileServer(http.Dir(m.repo.Dir)).ServeHTTP(w, r)
	}))
	defer proxy.Close()
	address := strings.TrimPrefix(proxy.URL, "http://")
	newMetadata(t, strings.Replace(query, "proxy.example:3128", address, 1)+"&RS_version=0.2.0")
	root := newPC(t)
	m.add(t, debName(t, root, "0.2.0"), "pkg")
	m.trusting(t, root, "http://mirror.inside")
	out, _ := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
}
