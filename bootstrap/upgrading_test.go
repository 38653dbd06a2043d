// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/upgrade"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// running is an instance with RightLink 0.1.0 that runs, and a mirror.
func running(t *testing.T, userData string) (string, *mirror) {
	t.Helper()
	newMetadata(t, userData)
	root := newPC(t)
	m := newMirror(t)
	m.add(t, debName(t, root, "0.1.0"), "good 0.1.0", "stable")
	m.trusting(t, root, m.URL)
	for _, stage := range []string{"rightimage", "rightboot", "rightscale", "rightlink"} {
		do(t, root, stage)
	}
	require.Equal(t, "good 0.1.0", read(t, root, "opt/rightscale/bin/rightlink"))
	return root, m
}

func upgradeTo(t *testing.T, root, version string) (string, error) {
	t.Helper()
	a := agent(root, &machine{root: root})
	a.TrialClock = &wait.Fake{}
	return a.Upgrade(context.Background(), bootstrap.UpgradeOptions{Version: version})
}

func patchOf(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "rightscale/bin/rightlink", Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	return b.String()
}

const program = "opt/rightscale/bin/rightlink"

func TestUpgradeOnRequest(t *testing.T) {
	root, m := running(t, query)
	m.add(t, debName(t, root, "0.2.0"), "good 0.2.0")
	m.add(t, debName(t, root, "0.3.0"), "bad 0.3.0")

	detail, err := upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 is up to date", detail)

	detail, err = upgradeTo(t, root, "0.2.0")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 upgraded to 0.2.0", detail)
	require.Equal(t, "good 0.2.0", read(t, root, program))

	_, err = upgradeTo(t, root, "0.3.0")
	require.ErrorIs(t, err, upgrade.ErrRolledBack)
	require.Equal(t, "good 0.2.0", read(t, root, program))
	require.Contains(t, read(t, root, "var/lib/dpkg/rightlink"), "0.2.0", "dpkg knows the old version again")

	_, err = upgradeTo(t, root, "0.9.0")
	require.ErrorContains(t, err, "0.9.0")
	require.Equal(t, "good 0.2.0", read(t, root, program))

	// The next boot leaves it: user-data asks for nothing.
	boot(t, root, "boot-2")
	do(t, root, "rightboot")
	do(t, root, "rightscale")
	require.Equal(t, "good 0.2.0", read(t, root, program))
}

func TestPatches(t *testing.T) {
	root, m := running(t, query)
	m.add(t, "rightlink-patch_0.1.0_1_amd64.tar.gz", patchOf(t, "good 0.1.0 patched once"))
	m.add(t, "rightlink-patch_0.2.0_7_amd64.tar.gz", patchOf(t, "for another version"))
	detail, err := upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 upgraded to 0.1.0+1", detail)
	require.Equal(t, "good 0.1.0 patched once", read(t, root, program))

	m.add(t, "rightlink-patch_0.1.0_2_amd64.tar.gz", patchOf(t, "bad patch"))
	_, err = upgradeTo(t, root, "")
	require.ErrorIs(t, err, upgrade.ErrRolledBack)
	require.Equal(t, "good 0.1.0 patched once", read(t, root, program))
	_, err = upgradeTo(t, root, "")
	require.ErrorIs(t, err, upgrade.ErrRefused, "it is not tried again")

	// At boot: the next one is put in before the agent starts, and judged later.
	m.add(t, "rightlink-patch_0.1.0_3_amd64.tar.gz", patchOf(t, "good 0.1.0 patched thrice"))
	boot(t, root, "boot-2")
	do(t, root, "rightboot")
	out, _ := do(t, root, "rightscale")
	require.Contains(t, out.Changed, "RightLink 0.1.0+1 upgraded to 0.1.0+3")
	require.Equal(t, "good 0.1.0 patched thrice", read(t, root, program))
	detail, err = upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0+3 is up to date", detail)

	// A bad one at boot goes when it is judged.
	m.add(t, "rightlink-patch_0.1.0_4_amd64.tar.gz", patchOf(t, "bad patch"))
	boot(t, root, "boot-3")
	do(t, root, "rightboot")
	do(t, root, "rightscale")
	require.Equal(t, "bad patch", read(t, root, program))
	_, err = upgradeTo(t, root, "")
	require.ErrorIs(t, err, upgrade.ErrRolledBack)
	require.Equal(t, "good 0.1.0 patched thrice", read(t, root, program))
}

// TestChannelMoves: an instance follows a channel, also back.
func TestChannelMoves(t *testing.T) {
	root, m := running(t, query+"&RS_version=stable")
	m.add(t, debName(t, root, "0.2.0"), "good 0.2.0", "stable")
	detail, err := upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 upgraded to 0.2.0", detail)
	require.NoError(t, m.repo.Point("0.1.0", "stable"))
	detail, err = upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.2.0 upgraded to 0.1.0", detail)
}

// TestMirrorAwayAtBoot: nothing of it keeps the boot from going on.
func TestMirrorAwayAtBoot(t *testing.T) {
	root, m := running(t, query+"&RS_version=stable")
	m.answer = broken
	boot(t, root, "boot-2")
	do(t, root, "rightboot")
	out, _ := do(t, root, "rightscale")
	require.Equal(t, "platform rs.example.net", out.Detail)
	m.trusting(t, root) // and without any mirror
	require.NoError(t, os.Remove(filepath.Join(root, "etc/rightscale.d/mirror/mirrors")))
	boot(t, root, "boot-3")
	do(t, root, "rightboot")
	do(t, root, "rightscale")
}

// TestPatchURL: RS_patch_url is one more mirror, trusted no more than the rest.
func TestPatchURL(t *testing.T) {
	first := newMirror(t)
	root, m := running(t, query+"&RS_patch_url="+first.URL)
	first.add(t, "rightlink-patch_0.1.0_9_amd64.tar.gz", patchOf(t, "good, but foreign"))
	_, err := upgradeTo(t, root, "")
	require.NoError(t, err, "the image's own mirror is asked next")
	require.Equal(t, "good 0.1.0", read(t, root, program))
	require.NotEmpty(t, first.seen)
	require.Contains(t, read(t, root, "var/lib/rightscale/mirror/health.json"), "metadata refused")

	// Of the same repository it serves.
	again := mirrorOf(t, m.repo)
	m.add(t, "rightlink-patch_0.1.0_1_amd64.tar.gz", patchOf(t, "good and ours"))
	m.answer = broken
	data := strings.ReplaceAll(query, "\n", "") + "&RS_patch_url=" + again.URL
	put(t, root, "var/spool/cloud/user-data.raw", data, 0o600)
	detail, err := upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 upgraded to 0.1.0+1", detail)
}
