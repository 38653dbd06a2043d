// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// The mirror of TestPackageSources has one version as a .deb and one as a
// tarball.
const (
	versionDeb     = "0.1.0"
	versionTarball = "0.1.1"
)

// TestPackageSources is the rest of the matrix of boots: each init system with a
// package of each kind, from the image's cache, a mirror and a bucket. A package
// that lies in the cache on a machine with systemd, sysvinit or OpenRC is what
// TestChain and TestInitSystems boot with.
func TestPackageSources(t *testing.T) {
	needFull(t)
	ctx, cancel := context.WithTimeout(testContext(t), 70*time.Minute)
	defer cancel()
	s := mirrorStory(t)
	dir := filepath.Join(s.Work, "mirror")
	site := httptest.NewServer(http.StripPrefix("/rightlink/", http.FileServer(http.Dir(dir))))
	t.Cleanup(site.Close)
	startWith(ctx, t, s, "169.254.169.253:81="+strings.TrimPrefix(site.URL, "http://"), "169.254.169.253:82="+serveBucket(t, dir))
	tarball := fillMirror(ctx, t, s, dir)
	_, err := s.Platform.Admin(ctx, "server-template", "upload", filepath.Join(s.Repo, "test", "e2e", "testdata", "sources", "sources.yml"))
	require.NoError(t, err)

	mirror, bucket := "http://169.254.169.253:81/rightlink", "s3://packages/rightlink?endpoint=http://169.254.169.253:82&region=us-east-1"
	for _, b := range []sourceBoot{
		{name: "systemd-tarball-cache", init: chain.Systemd, version: versionTarball, file: tarball, says: "started by systemd"},
		{name: "systemd-deb-mirror", init: chain.Systemd, version: versionDeb, mirror: mirror, says: "started by systemd"},
		{name: "sysvinit-tarball-cache", init: chain.SysVInit, version: versionTarball, file: tarball, says: "started by rc"},
		{name: "sysvinit-deb-mirror", init: chain.SysVInit, version: versionDeb, mirror: mirror, says: "started by rc"},
		{name: "sysvinit-tarball-bucket", init: chain.SysVInit, version: versionTarball, mirror: bucket, says: "started by rc"},
		{name: "openrc-tarball-mirror", init: chain.OpenRC, version: versionTarball, mirror: mirror, says: "started by openrc"},
		{name: "openrc-deb-bucket", init: chain.OpenRC, version: versionDeb, mirror: bucket, says: "started by openrc"},
	} {
		t.Run(b.name, func(t *testing.T) { b.boot(ctx, t, s, filepath.Join(dir, "metadata", "1.root.json")) })
	}
}

// fillMirror publishes both versions and returns the tarball, for caches.
func fillMirror(ctx context.Context, t *testing.T, s *chain.Story, dir string) string {
	t.Helper()
	publish := mirrorTool(ctx, t, s, dir)
	publish("init", dir)
	publish("add", dir, packaged(ctx, t, s, s.Bin("rightlink"), versionDeb))
	packaged(ctx, t, s, s.Bin("rightlink"), versionTarball)
	tarball := filepath.Join(s.Work, "rightlink_"+versionTarball+"_amd64.tar.gz")
	publish("add", dir, tarball)
	return tarball
}

// sourceBoot is one cell of the matrix; file is for the cache.
type sourceBoot struct{ name, init, version, mirror, file, says string }

func (b sourceBoot) boot(ctx context.Context, t *testing.T, s *chain.Story, root string) {
	t.Helper()
	image := b.image(ctx, t, s, root)
	_, err := s.Platform.Admin(ctx, "server", "create", b.name, "--server-template", "Sources test")
	require.NoError(t, err)
	require.NoError(t, s.LaunchServer(ctx, chain.Role{Name: b.name, UserData: "query", Image: image}))
	id := s.InstanceOf(b.name)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, b.name) })
	require.NoError(t, s.Platform.WaitState(ctx, b.name, "operational"))
	want := []string{b.says, "RightLink " + b.version + " installed"}
	if b.version == versionDeb {
		want = append(want, "package install ok installed "+b.version, "no tarball")
	} else {
		want = append(want, "no package", `"complete": true`)
	}
	if b.mirror == "" {
		want = append(want, "no mirror was asked")
	} else {
		want = append(want, `"good"`)
	}
	requireText(t, s, b.name, auditText(ctx, t, s, b.name), want...)
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

func (b sourceBoot) image(ctx context.Context, t *testing.T, s *chain.Story, root string) string {
	t.Helper()
	base, err := s.BaseDisk(ctx, b.init)
	require.NoError(t, err)
	list := func(value string) string {
		values := []string{}
		if value != "" {
			values = append(values, value)
		}
		text, err := json.Marshal(values)
		require.NoError(t, err)
		return string(text)
	}
	catalogue, err := s.Build(ctx, filepath.Join(s.Repo, "test", "e2e", "testdata", "sources", "sources.pkr.hcl"), filepath.Join(s.Work, b.name), s.Cloud.Env(), map[string]string{
		"base_disk": base, "platform_ca_file": s.Platform.CA, "region": chain.Region, "root_file": root, "name": b.name,
		"rightlink_version": b.version, "mirrors": list(b.mirror), "package_files": list(b.file),
	})
	require.NoError(t, err)
	return catalogue.Images[chain.Region].ImageID
}
