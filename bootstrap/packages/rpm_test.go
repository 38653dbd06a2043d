// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
)

// shell gives a root a /bin/sh that really runs there, for scriptlets.
func shell(t *testing.T, root string) {
	t.Helper()
	put(t, root, "bin/sh", readFile(t, "/bin/sh"))
	out, err := exec.Command("ldd", "/bin/sh").Output()
	if err != nil {
		return // static
	}
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
		put(t, root, lib, readFile(t, lib))
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// rpmRoot is a small system of rpm packages: what rpm itself needs of it.
func rpmRoot(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil || os.Getuid() != 0 {
		t.Skip("needs rpm, and root for its chroot")
	}
	root := t.TempDir()
	put(t, root, "usr/bin/rpm", nil)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755))
	shell(t, root)
	return root
}

// cacheRPM builds a real package into the image's cache.
func cacheRPM(t *testing.T, root, version, agent string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "rightlink")
	require.NoError(t, os.WriteFile(binary, []byte(agent), 0o600))
	var b bytes.Buffer
	require.NoError(t, build.RPM(&b, build.Input{Version: version, Arch: "amd64", Binary: binary, Time: time.Unix(1_700_000_000, 0)}))
	name := build.FileName(version, "amd64", build.KindRPM)
	sum := sha256.Sum256(b.Bytes())
	put(t, root, "root/.rightscale/"+name, b.Bytes())
	put(t, root, "root/.rightscale/"+name+".sha256", []byte(hex.EncodeToString(sum[:])+"\n"))
}

// TestRealRPM installs, upgrades, goes back and removes with the real rpm.
func TestRealRPM(t *testing.T) {
	root, ctx := rpmRoot(t), context.Background()
	// The package's scriptlets say what they were called with.
	put(t, root, "opt/rightscale/bin/bootstrap", []byte("#!/bin/sh\necho \"$*\" >>/calls\n"))
	m := &packages.Manager{Root: root, Facts: redhat(), Run: run.Exec{Env: []string{"HOME=/root"}}}
	install := func(version string) {
		t.Helper()
		p, err := m.Choose(version)
		require.NoError(t, err)
		require.Equal(t, "rpm", p.Format)
		require.NoError(t, m.Install(ctx, p, version))
		have, err := m.Installed(ctx)
		require.NoError(t, err)
		require.Equal(t, version, have)
	}
	cacheRPM(t, root, "0.1.0", "first")
	cacheRPM(t, root, "0.2.0-rc1", "second")
	install("0.1.0")
	install("0.1.0")
	require.Equal(t, "first", string(readFile(t, filepath.Join(root, "opt/rightscale/bin/rightlink"))))
	target, err := os.Readlink(filepath.Join(root, "usr/bin/rs_tag"))
	require.NoError(t, err)
	require.Equal(t, "/opt/rightscale/bin/rightlink", target)
	install("0.2.0-rc1")
	install("0.1.0")
	require.True(t, m.Present(ctx))
	removed, err := m.Remove(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"package rightlink"}, removed)
	require.NoFileExists(t, filepath.Join(root, "opt/rightscale/bin/rightlink"))
	require.NoFileExists(t, filepath.Join(root, "usr/bin/rs_tag"))
	require.False(t, m.Present(ctx))
	require.Equal(t, "register\nregister\nregister\nregister\nregister --remove\n", string(readFile(t, filepath.Join(root, "calls"))))
}

// TestRPMLock: a package manager at work is waited for.
func TestRPMLock(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	put(t, root, "usr/bin/rpm", nil)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755))
	path := cached(t, root, "rightlink_1.0_amd64.rpm", []byte("x"))
	tries := 0
	s := &script{answers: map[string]func() (string, error){"rpm": func() (string, error) {
		if tries++; tries < 3 {
			return "", &run.Error{Argv: []string{"rpm"}, Err: errors.New("exit status 1"), Stderr: "error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)"}
		}
		return "", nil
	}}}
	m := &packages.Manager{Root: root, Facts: redhat(), Run: s, Clock: &wait.Fake{}}
	require.NoError(t, m.Install(ctx, packages.Package{Path: path, Format: "rpm"}, "1.0"))
	require.Equal(t, 3, tries)
	require.Equal(t, "rpm --root "+root+" -U --oldpackage --replacepkgs --nosignature "+path, s.argv[0])
}
