// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tree_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

func open(t *testing.T) (*tree.Tree, string) {
	dir := filepath.Join(t.TempDir(), "image")
	for _, d := range []string{"etc", "usr/share/zoneinfo", "run"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("inside"), 0o640))
	tr, err := tree.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr, dir
}

func link(t *testing.T, dir, name, to string) {
	require.NoError(t, os.Symlink(to, filepath.Join(dir, name)))
}

// Links of the image mean paths of the image.
func TestHostileLinks(t *testing.T) {
	tr, dir := open(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("outside"), 0o600))
	link(t, dir, "absolute", "/etc/passwd")
	link(t, dir, "above", "../../../../etc/passwd")
	link(t, dir, "out", "../outside")
	link(t, dir, "host", outside)
	link(t, dir, "self", "self")
	link(t, dir, "a", "b")
	link(t, dir, "b", "a/x")
	link(t, dir, "etcdir", "/etc")
	link(t, dir, "proc", "/proc")

	for _, p := range []string{"/etc/passwd", "/absolute", "/above", "/etcdir/passwd", "/etcdir/../etcdir/passwd", "/../../etc/passwd"} {
		require.Equal(t, "inside", tr.Text(p), p)
	}
	for _, p := range []string{"/out", "/host", "/self", "/a", "/proc/self/environ", "/etcdir/../outside"} {
		_, err := tr.ReadFile(p)
		require.Error(t, err, p)
		require.False(t, tr.Exists(p), p)
		require.Error(t, tr.Truncate(p), p)
		require.Error(t, tr.Replace(p, []byte("x")), p)
	}
	_, err := tr.Resolve("/self")
	require.ErrorIs(t, err, tree.ErrLinks)

	require.NoError(t, tr.Create("/etcdir/new", []byte("x"), 0o600))
	require.FileExists(t, filepath.Join(dir, "etc/new"))
	require.NoError(t, tr.Remove("/host"), "the link, not what it leads to")
	data, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "outside", string(data))
}

func TestReplaceKeepsModeAndOwner(t *testing.T) {
	tr, dir := open(t)
	p := filepath.Join(dir, "etc/passwd")
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(p, 0, 42))
	}
	require.NoError(t, tr.Replace("/etc/passwd", []byte("new")))
	info, err := os.Stat(p)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	if os.Geteuid() == 0 {
		require.Equal(t, uint32(42), info.Sys().(*syscall.Stat_t).Gid)
	}
	require.Equal(t, []string{"passwd"}, tr.ReadDir("/etc"), "nothing is left beside it")
}

// A pipe in the image must not hold anybody up.
func TestPipesAreNotRead(t *testing.T) {
	tr, dir := open(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "etc/pipe"), 0o644))
	_, err := tr.ReadFile("/etc/pipe")
	require.ErrorIs(t, err, tree.ErrNotRegular)
}

func TestGlob(t *testing.T) {
	tr, dir := open(t)
	link(t, dir, "lib", "usr/lib")
	for _, f := range []string{"etc/a.conf", "etc/b.conf", "etc/.c.conf", "etc/d.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
	require.Equal(t, []string{"/etc/a.conf", "/etc/b.conf"}, tr.Glob("/etc/*.conf")[len(tr.Glob("/etc/*.conf"))-2:])
	require.Equal(t, []string{"/etc/passwd"}, tr.Glob("/*/passwd"))
	require.Empty(t, tr.Glob("/nowhere/*"))
}

// The walk meets everything once and follows nothing.
func TestWalk(t *testing.T) {
	tr, dir := open(t)
	link(t, dir, "round", ".")
	var want []string
	for i := range 50 {
		d := filepath.Join("usr", string(rune('a'+i%26)), string(rune('a'+i/26)))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, d, "file"), []byte("x"), 0o644))
		want = append(want, "/"+d+"/file")
	}
	var mu sync.Mutex
	var got []string
	tr.Walk(4, func(worker int, e *tree.Entry) bool {
		mu.Lock()
		defer mu.Unlock()
		require.Less(t, worker, 4)
		if filepath.Base(e.Path) == "file" {
			f, err := e.Open()
			require.NoError(t, err)
			require.NoError(t, f.Close())
			got = append(got, e.Path)
		}
		return true
	}, func(p string, err error) { t.Errorf("%s: %v", p, err) })
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}
