// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestRoundTrip provisions a disk, removes the package and the bootstrap, and
// compares every path of the root file system.
func TestRoundTrip(t *testing.T) {
	s := machineRoom(t)
	roundTrip(t, s, s.Base)
}

func roundTrip(t *testing.T, s *chain.Story, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Minute)
	defer cancel()
	results := t.TempDir()
	testdata := filepath.Join(s.Repo, "test", "e2e", "testdata")
	_, err := s.Build(ctx, filepath.Join(testdata, "roundtrip.pkr.hcl"), filepath.Join(s.Work, t.Name()), nil, map[string]string{
		"base_disk": base, "listing": filepath.Join(testdata, "listing.sh"), "results": results + "/",
	})
	require.NoError(t, err)
	before, provisioned, after := lines(t, results, "before"), lines(t, results, "provisioned"), lines(t, results, "after")
	require.Greater(t, len(before), 5000, "the listing is complete")
	require.NotEqual(t, before, provisioned, "provisioning changes the image")
	require.Equal(t, difference(before, after), []string(nil), "the image is as it was")
	requireNotMounted(t, s)
}

// TestHooksRemoved plainly removes the hook files; the machine must boot to a
// login all the same.
func TestHooksRemoved(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(testContext(t), 15*time.Minute)
	defer cancel()
	catalogue, err := s.Build(ctx, filepath.Join(s.Repo, "test", "e2e", "testdata", "nohooks.pkr.hcl"), filepath.Join(s.Work, "nohooks"), s.Cloud.Env(),
		map[string]string{"base_disk": s.Base, "regions": `["` + chain.Region + `"]`})
	require.NoError(t, err)
	id, err := s.Cloud.Launch(ctx, "nohooks", catalogue.Images[chain.Region].ImageID, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, "nohooks") })
	waitLogin(ctx, t, s, id)
	require.Empty(t, requests(t, s, id), "without hooks nobody asks for metadata")
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

func lines(t *testing.T, dir, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// difference lists the lines that only one side has, marked - and +.
func difference(before, after []string) []string {
	seen := map[string]int{}
	for _, l := range before {
		seen[l]++
	}
	for _, l := range after {
		seen[l]--
	}
	var out []string
	for l, n := range seen {
		switch {
		case n > 0:
			out = append(out, "- "+l)
		case n < 0:
			out = append(out, "+ "+l)
		}
	}
	return out
}

// requireNotMounted fails when a build left a mount or a loop device behind.
func requireNotMounted(t *testing.T, s *chain.Story) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), s.Work)
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil {
			require.NotContains(t, string(file), s.Work, "a loop device is left behind")
		}
	}
}
