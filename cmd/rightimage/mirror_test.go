// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mirrorRun runs "rightimage mirror" and returns what it printed.
func mirrorRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"mirror"}, args...))
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func mustMirror(t *testing.T, args ...string) string {
	t.Helper()
	out, err := mirrorRun(t, args...)
	require.NoError(t, err, out)
	return out
}

// TestMirrorCommands is a mirror's life, as an operator types it.
func TestMirrorCommands(t *testing.T) {
	dir := t.TempDir()
	m, keys, packages := filepath.Join(dir, "m"), filepath.Join(dir, "keys"), filepath.Join(dir, "p")
	program := filepath.Join(dir, "agent")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o600))

	require.Contains(t, mustMirror(t, "package", "--binary", program, "--version", "0.1.0", "--out", packages), "rightlink_0.1.0_amd64.rpm")
	mustMirror(t, "patch", "--base", "0.1.0", "--number", "2", "--file", "rightscale/bin/rightlink="+program, "--out", packages)
	require.Contains(t, mustMirror(t, "init", m, "--keys", keys), "metadata/1.root.json")
	files, err := filepath.Glob(filepath.Join(packages, "*"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	mustMirror(t, append([]string{"add", m, "--keys", keys, "--channel", "stable"}, files...)...)
	mustMirror(t, "sign", m, "--keys", keys)
	require.Contains(t, mustMirror(t, "sign", m, "--keys", keys, "--rotate", "root,snapshot"), "2.root.json")
	require.Contains(t, mustMirror(t, "list", m), "0.1.0/rightlink-patch_0.1.0_2_amd64.tar.gz\n")
	mustMirror(t, "add", m, "--keys", keys, "--channel", "beta", "--version", "0.1.0")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serveMirror(ctx, l, m) }()
	base := "http://" + l.Addr().String()
	copied := filepath.Join(dir, "copy")
	out := mustMirror(t, "sync", base, copied, "--root", filepath.Join(m, "metadata/1.root.json"))
	require.Equal(t, "4 files, 4 of them fetched; root version 2\n", out)
	for path, want := range map[string]int{"/": 404, "/metadata/": 404, "/metadata/timestamp.json": 200, "/.trusted/x": 404} {
		resp, err := http.Get(base + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, path)
	}
	stop()
	require.NoError(t, <-done)

	mustMirror(t, "remove", m, "0.1.0", "--keys", keys)
	require.Empty(t, mustMirror(t, "list", m))
}

func TestMirrorMistakes(t *testing.T) {
	dir := t.TempDir()
	m, keys := filepath.Join(dir, "m"), filepath.Join(dir, "keys")
	mustMirror(t, "init", m, "--keys", keys)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no keys":        {[]string{"sign", m}, "keys"},
		"other keys":     {[]string{"sign", m, "--keys", dir}, "signing key"},
		"twice":          {[]string{"init", m, "--keys", filepath.Join(dir, "k2")}, "already"},
		"keys inside":    {[]string{"init", filepath.Join(dir, "n"), "--keys", filepath.Join(dir, "n", "keys")}, "choose another --keys"},
		"no mirror":      {[]string{"list", dir}, "mirror init"},
		"bad name":       {[]string{"add", m, "--keys", keys, filepath.Join(dir, "x.deb")}, "not the name"},
		"nothing to add": {[]string{"add", m, "--keys", keys}, "no file"},
		"no version":     {[]string{"add", m, "--keys", keys, "--channel", "stable", "--version", "9"}, "not in the repository"},
		"no root":        {[]string{"sync", "http://127.0.0.1:1", dir, "--root", filepath.Join(dir, "none")}, "--root"},
		"too short":      {[]string{"sign", m, "--keys", keys, "--expire-timestamp", "1s"}, "--expire-timestamp"},
		"bad role":       {[]string{"sign", m, "--keys", keys, "--rotate", "king"}, "no role"},
		"bad patch":      {[]string{"patch", "--base", "0.1.0", "--number", "0"}, "not the name"},
	} {
		_, err := mirrorRun(t, tc.args...)
		require.ErrorContains(t, err, tc.want, name)
	}
	mustMirror(t, "sign", m, "--keys", keys) // and it still works
}
