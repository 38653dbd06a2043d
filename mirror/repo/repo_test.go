// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package repo_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func newRepo(t *testing.T) *repo.Repo {
	t.Helper()
	r, err := repo.Init(t.TempDir(), repo.Keys{Dir: filepath.Join(t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(t, err)
	return r
}

func client(t *testing.T) *fetch.Client {
	t.Helper()
	c, err := fetch.New(fetch.Options{})
	require.NoError(t, err)
	return c
}

func serve(t *testing.T, dir string) string {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL
}

func refresh(t *testing.T, root []byte, base string) (*trust.Catalogue, error) {
	t.Helper()
	return (&trust.Client{Root: root, Dir: t.TempDir(), Get: client(t)}).Refresh(context.Background(), base)
}

func root(t *testing.T, r *repo.Repo) []byte {
	t.Helper()
	data, err := os.ReadFile(r.RootFile())
	require.NoError(t, err)
	return data
}

func TestLife(t *testing.T) {
	r := newRepo(t)
	baked := root(t, r)
	base := serve(t, r.Dir)
	cat, err := refresh(t, baked, base)
	require.NoError(t, err)
	require.Empty(t, cat.Files)

	deb := file(t, "rightlink_0.1.0_amd64.deb", "one")
	added, err := r.Add([]string{deb, file(t, "rightlink_0.1.0_amd64.tar.gz", "tar")}, []string{"stable"})
	require.NoError(t, err)
	require.Equal(t, []string{"0.1.0/rightlink_0.1.0_amd64.deb", "0.1.0/rightlink_0.1.0_amd64.tar.gz"}, added)
	_, err = r.Add([]string{file(t, "rightlink_0.2.0_amd64.deb", "two")}, []string{"beta"})
	require.NoError(t, err)
	_, err = r.Add([]string{file(t, "rightlink-patch_0.1.0_1_amd64.tar.gz", "p1"), file(t, "rightlink-patch_0.1.0_3_amd64.tar.gz", "p3")}, nil)
	require.NoError(t, err)

	cat, err = refresh(t, baked, base)
	require.NoError(t, err)
	v, ok := cat.Channel("stable", "amd64")
	require.True(t, ok)
	require.Equal(t, "0.1.0", v)
	_, ok = cat.Channel("stable", "arm64")
	require.False(t, ok)
	p, ok := cat.Patch("0.1.0", "amd64")
	require.True(t, ok)
	require.Equal(t, 3, p.Patch)
	f, ok := cat.Named("rightlink_0.2.0_amd64.deb")
	require.True(t, ok)
	require.Equal(t, pkgname.Info{Version: "0.2.0", Arch: "amd64", Format: "deb", Channels: []string{"beta"}}, f.Info)

	// A published file never changes; the same one again does no harm.
	_, err = r.Add([]string{file(t, "rightlink_0.1.0_amd64.deb", "other")}, nil)
	require.ErrorIs(t, err, repo.ErrChanged)
	_, err = r.Add([]string{deb}, nil)
	require.NoError(t, err)
	cat, err = refresh(t, baked, base)
	require.NoError(t, err)
	v, _ = cat.Channel("stable", "amd64")
	require.Equal(t, "0.1.0", v, "its channel stays")

	r, err = repo.Open(r.Dir, r.Keys, r.Expiry)
	require.NoError(t, err)
	require.NoError(t, r.Point("0.2.0", "stable"))
	_, err = r.Remove("0.1.0")
	require.NoError(t, err)
	cat, err = refresh(t, baked, base)
	require.NoError(t, err)
	require.Len(t, cat.Files, 1)
	v, _ = cat.Channel("stable", "amd64")
	require.Equal(t, "0.2.0", v)
	require.ErrorIs(t, r.Point("9", "stable"), repo.ErrUnknown)
	require.Equal(t, []string{"snapshot", "timestamp"}, r.Expiring(20*24*time.Hour))
}

func TestRotatedTwice(t *testing.T) {
	r := newRepo(t)
	baked := root(t, r)
	_, err := r.Add([]string{file(t, "rightlink_0.1.0_amd64.deb", "one")}, nil)
	require.NoError(t, err)
	require.NoError(t, r.Rotate("root", "targets", "snapshot", "timestamp"))
	r, err = repo.Open(r.Dir, r.Keys, r.Expiry)
	require.NoError(t, err)
	require.NoError(t, r.Rotate("root"))
	_, err = r.Add([]string{file(t, "rightlink_0.2.0_amd64.deb", "two")}, nil)
	require.NoError(t, err)
	cat, err := refresh(t, baked, serve(t, r.Dir))
	require.NoError(t, err)
	require.Equal(t, int64(3), cat.Root)
	require.Len(t, cat.Files, 2)
}

func TestKeysStayOutside(t *testing.T) {
	dir := t.TempDir()
	_, err := repo.Init(dir, repo.Keys{Dir: filepath.Join(dir, "keys")}, repo.DefaultExpiry())
	require.ErrorIs(t, err, repo.ErrKey)
	r := newRepo(t)
	_, err = repo.Init(r.Dir, repo.Keys{Dir: t.TempDir()}, repo.DefaultExpiry())
	require.ErrorIs(t, err, repo.ErrExists)
	other := newRepo(t)
	wrong, err := repo.Open(r.Dir, other.Keys, r.Expiry)
	require.NoError(t, err)
	require.ErrorIs(t, wrong.Sign(), repo.ErrKey)
}

func TestSync(t *testing.T) {
	r := newRepo(t)
	baked := root(t, r)
	_, err := r.Add([]string{file(t, "rightlink_0.1.0_amd64.deb", "one"), file(t, "rightscale_5.8.8-ubuntu_12.04-amd64.deb", "old")}, []string{"stable"})
	require.NoError(t, err)
	require.NoError(t, r.Rotate("root"))
	copyDir := t.TempDir()
	done, err := repo.Sync(context.Background(), client(t), baked, serve(t, r.Dir), copyDir, "")
	require.NoError(t, err)
	require.Equal(t, repo.Synced{Files: 2, Fetched: 2, Root: 2}, done)
	cat, err := refresh(t, baked, serve(t, copyDir))
	require.NoError(t, err)
	require.Len(t, cat.Files, 2)
	done, err = repo.Sync(context.Background(), client(t), baked, serve(t, r.Dir), copyDir, "")
	require.NoError(t, err)
	require.Zero(t, done.Fetched)
	_, err = repo.Sync(context.Background(), client(t), root(t, newRepo(t)), serve(t, r.Dir), t.TempDir(), "")
	require.ErrorIs(t, err, trust.ErrRefused)
}
