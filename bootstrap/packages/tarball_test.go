// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
)

type entry struct {
	name, body, link string
	kind             byte
	mode             int64
}

func tarball(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		require.NoError(t, w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body))}))
		_, err := w.Write([]byte(e.body))
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	return b.Bytes()
}

func good() []entry {
	return []entry{
		{name: "./", kind: tar.TypeDir, mode: 0o755},
		{name: "./rightscale/", kind: tar.TypeDir, mode: 0o777},
		{name: "./rightscale/bin/", kind: tar.TypeDir, mode: 0o755},
		{name: "./rightscale/bin/rightlink", body: "agent", mode: 0o644},
		{name: "rightscale/bin/post_install.sh", body: "#!/bin/sh\n", mode: 0o4777},
		{name: "rightscale/bin/rs_tag", link: "rightlink", kind: tar.TypeSymlink},
		{name: "rightscale/share/doc/README", body: "read", mode: 0o644},
	}
}

func TestTarball(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	put(t, root, "opt/rightscale/bin/bootstrap", []byte("b"))
	path := cached(t, root, "rightlink_1.0_amd64.tar.gz", tarball(t, good()...))
	m := &packages.Manager{Root: root, Facts: redhat(), Run: &script{}}
	p, err := m.Choose("1.0")
	require.NoError(t, err)
	require.Equal(t, path, p.Path)
	for range 2 { // again is fine
		require.NoError(t, m.Install(ctx, p, "1.0"))
	}
	v, err := m.Installed(ctx)
	require.NoError(t, err)
	require.Equal(t, "1.0", v)
	for name, mode := range map[string]os.FileMode{"bin/rightlink": 0o755, "bin/post_install.sh": 0o755, "share/doc/README": 0o644} {
		info, err := os.Stat(filepath.Join(root, "opt/rightscale", name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), name)
	}
	target, err := os.Readlink(filepath.Join(root, "opt/rightscale/bin/rs_tag"))
	require.NoError(t, err)
	require.Equal(t, "rightlink", target)
	_, err = m.RemoveTarball()
	require.NoError(t, err)
	left, err := filepath.Glob(filepath.Join(root, "opt/rightscale/*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(root, "opt/rightscale/bin")}, left, "only the folder with bootstrap is left")
	require.NoFileExists(t, filepath.Join(root, "var/lib/rightscale/tarball.json"))
}

func TestTarballRefused(t *testing.T) {
	ctx := context.Background()
	for name, e := range map[string]entry{
		"up":            {name: "rightscale/../../etc/passwd", body: "x"},
		"absolute":      {name: "/etc/passwd", body: "x"},
		"elsewhere":     {name: "other/file", body: "x"},
		"link out":      {name: "rightscale/l", link: "../../etc", kind: tar.TypeSymlink},
		"link absolute": {name: "rightscale/l", link: "/etc", kind: tar.TypeSymlink},
		"link beside":   {name: "rightscale/l", link: "../other", kind: tar.TypeSymlink},
		"hard link":     {name: "rightscale/l", link: "rightscale/bin/rightlink", kind: tar.TypeLink},
		"device":        {name: "rightscale/d", kind: tar.TypeChar},
		"bootstrap":     {name: "rightscale/bin/./bootstrap", body: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			cached(t, root, "rightlink_1.0_amd64.tar.gz", tarball(t, append(good(), e)...))
			m := &packages.Manager{Root: root, Facts: redhat(), Run: &script{}}
			p, err := m.Choose("1.0")
			require.NoError(t, err)
			require.ErrorIs(t, m.Install(ctx, p, "1.0"), packages.ErrTarball)
			require.NoDirExists(t, filepath.Join(root, "opt"), "nothing is unpacked")
		})
	}
	// A link that is there already leads nowhere else.
	root := t.TempDir()
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "opt"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "opt/rightscale")))
	cached(t, root, "rightlink_1.0_amd64.tar.gz", tarball(t, good()...))
	m := &packages.Manager{Root: root, Facts: redhat(), Run: &script{}}
	p, err := m.Choose("1.0")
	require.NoError(t, err)
	require.Error(t, m.Install(ctx, p, "1.0"))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left)
	// Not a tarball, and one without the agent.
	for _, data := range [][]byte{[]byte("nonsense"), tarball(t, good()[0])} {
		cached(t, root, "rightlink_1.0_amd64.tar.gz", data)
		require.ErrorIs(t, m.Install(ctx, p, "1.0"), packages.ErrTarball)
	}
}
