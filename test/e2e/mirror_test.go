// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestMirror boots an image without a package: its first mirror is down, the
// second is a bucket. Then a patch is put in at boot, and after it a version
// that does not work, which the machine undoes by itself.
func TestMirror(t *testing.T) {
	needFull(t)
	ctx, cancel := context.WithTimeout(testContext(t), 40*time.Minute)
	defer cancel()
	s := mirrorStory(t)
	dir := filepath.Join(s.Work, "mirror")
	bucket := serveBucket(t, dir)
	startWith(ctx, t, s, "169.254.169.253:81="+closedAddress(t), "169.254.169.253:82="+bucket)

	publish := mirrorTool(ctx, t, s, dir)
	publish("init", dir)
	agent := s.Bin("rightlink")
	publish("add", dir, "--channel", "stable", packaged(ctx, t, s, agent, "0.1.0"))
	s.Image = mirrorImage(ctx, t, s, filepath.Join(dir, "metadata", "1.root.json"))

	const server = "mirror-1"
	_, err := s.Platform.Admin(ctx, "server-template", "upload", filepath.Join(s.Repo, "test", "e2e", "testdata", "mirror", "mirror.yml"))
	require.NoError(t, err)
	_, err = s.Platform.Admin(ctx, "server", "create", server, "--server-template", "Mirror test")
	require.NoError(t, err)
	require.NoError(t, s.LaunchServer(ctx, chain.Role{Name: server, UserData: "query"}))
	id := s.InstanceOf(server)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, server) })
	require.NoError(t, s.Platform.WaitState(ctx, server, "operational"))
	requireText(t, s, server, auditText(ctx, t, s, server), "program "+digest(t, agent), "package install ok installed 0.1.0", "last_error")
	s.Say("%s has RightLink from the bucket", server)

	// A patch, put in before the agent starts.
	patched := filepath.Join(s.Work, "patched")
	data, err := os.ReadFile(agent)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(patched, append(data, "patched\n"...), 0o600)) // a program bears what follows it
	_, err = s.Command(ctx, nil, s.Bin("rightimage"), "mirror", "patch", "--base", "0.1.0", "--number", "1", "--file", "rightscale/bin/rightlink="+patched, "--out", s.Work)
	require.NoError(t, err)
	publish("add", dir, filepath.Join(s.Work, "rightlink-patch_0.1.0_1_amd64.tar.gz"))
	publish("sign", dir, "--rotate", "root,timestamp")
	reboot(ctx, t, s, server, id)
	requireText(t, s, server, auditText(ctx, t, s, server), "program "+digest(t, patched), `"patch": 1`)
	s.Say("%s has been patched at boot", server)
	time.Sleep(30 * time.Second) // the trial ends while it runs

	// A version that cannot work.
	bad := filepath.Join(s.Work, "bad")
	require.NoError(t, os.WriteFile(bad, []byte("#!/bin/sh\nexit 1\n"), 0o600))
	publish("add", dir, "--channel", "stable", packaged(ctx, t, s, bad, "0.2.0"))
	reboot(ctx, t, s, server, id)
	audit := auditText(ctx, t, s, server)
	requireText(t, s, server, audit, "went back from 0.2.0 to 0.1.0+1")
	require.Equal(t, 2, strings.Count(audit, "program "+digest(t, patched)), "the patched agent is back")
	require.Equal(t, 3, strings.Count(audit, "package install ok installed 0.1.0"))
	s.Say("%s has undone a version that does not work", server)
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

func mirrorStory(t *testing.T) *chain.Story {
	t.Helper()
	env, err := chain.New("e2e-mirror", testWriter{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	return chain.NewStory(env)
}

// startWith starts a platform and a local cloud whose guests reach more.
func startWith(ctx context.Context, t *testing.T, s *chain.Story, forwards ...string) {
	t.Helper()
	var err error
	s.Platform, err = s.StartPlatform(ctx)
	require.NoError(t, err)
	var flags []string
	for _, f := range forwards {
		flags = append(flags, "--forward", f)
	}
	s.Cloud, err = s.StartCloud(ctx, s.Platform.Addr, flags...)
	require.NoError(t, err)
}

// serveBucket serves a folder as an S3 bucket does that may not be listed.
func serveBucket(t *testing.T, dir string) string {
	t.Helper()
	files := http.StripPrefix("/packages/rightlink/", http.FileServer(http.Dir(dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, "/packages/rightlink/")
		if info, err := os.Stat(filepath.Join(dir, path)); !ok || err != nil || info.IsDir() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// mirrorTool runs "rightimage mirror" with the test's keys.
func mirrorTool(ctx context.Context, t *testing.T, s *chain.Story, dir string) func(args ...string) {
	t.Helper()
	keys := filepath.Join(filepath.Dir(dir), "keys")
	return func(args ...string) {
		t.Helper()
		_, err := s.Command(ctx, nil, s.Bin("rightimage"), append(append([]string{"mirror"}, args...), "--keys", keys)...)
		require.NoError(t, err)
	}
}

// packaged is a .deb of a program.
func packaged(ctx context.Context, t *testing.T, s *chain.Story, program, version string) string {
	t.Helper()
	_, err := s.Command(ctx, nil, s.Bin("rightimage"), "mirror", "package", "--binary", program, "--version", version, "--out", s.Work)
	require.NoError(t, err)
	return filepath.Join(s.Work, "rightlink_"+version+"_amd64.deb")
}

func mirrorImage(ctx context.Context, t *testing.T, s *chain.Story, root string) string {
	t.Helper()
	base, err := s.BaseDisk(ctx, chain.Systemd)
	require.NoError(t, err)
	catalogue, err := s.Build(ctx, filepath.Join(s.Repo, "test", "e2e", "testdata", "mirror", "mirror.pkr.hcl"), filepath.Join(s.Work, "image"), s.Cloud.Env(),
		map[string]string{"base_disk": base, "platform_ca_file": s.Platform.CA, "region": chain.Region, "root_file": root})
	require.NoError(t, err)
	return catalogue.Images[chain.Region].ImageID
}

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
