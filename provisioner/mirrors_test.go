// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

func rootFile(t *testing.T) string {
	t.Helper()
	r, err := repo.Init(t.TempDir(), repo.Keys{Dir: filepath.Join(t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(t, err)
	return r.RootFile()
}

func TestMirrorOptions(t *testing.T) {
	root := rootFile(t)
	for name, tc := range map[string]struct {
		set  map[string]any
		want []string
	}{
		"all":             {map[string]any{"mirrors": []string{"https://m.example/x", "s3://bucket/x?region=eu-west-1"}, "mirror_root_file": root, "rightlink_version": "stable", "allow_unsigned_packages": true}, nil},
		"root alone":      {map[string]any{"mirror_root_file": root}, nil}, // RS_patch_url may name a mirror
		"no root":         {map[string]any{"mirrors": []string{"https://m.example"}}, []string{"mirror_root_file"}},
		"bad root":        {map[string]any{"mirror_root_file": write(t, "root.json", "{}")}, []string{"mirror_root_file"}},
		"no address":      {map[string]any{"mirrors": []string{"ftp://m.example", "m.example"}, "mirror_root_file": root}, []string{`mirrors: "ftp://m.example"`, `mirrors: "m.example"`}},
		"password":        {map[string]any{"mirrors": []string{"https://me:secret@m.example"}, "mirror_root_file": root}, []string{"must hold no user and password"}},
		"channel alone":   {map[string]any{"rightlink_version": "stable"}, []string{"needs mirrors"}},
		"unsigned, alone": {map[string]any{"allow_unsigned_packages": true}, []string{"allow_unsigned_packages"}},
		"CA missing":      {map[string]any{"mirror_ca_file": "/nowhere"}, []string{"mirror_ca_file: "}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := requirePrepared(t, tc.set, tc.want); err != nil {
				require.NotContains(t, err.Error(), "secret")
			}
		})
	}
}

// TestMirrorsInTheImage: the image knows its mirrors, follows the channel, and
// holds the plugin's own package for the case that no mirror is there.
func TestMirrorsInTheImage(t *testing.T) {
	root := rootFile(t)
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{
		"mirrors": []string{"https://m.example/x", "s3://bucket/x"}, "mirror_root_file": root, "rightlink_version": "stable",
	}))
	pl, err := makePlan(facts{Arch: "amd64", Dpkg: true}, fakeAgents{version: "1.2.3"}, p.config, quiet{})
	require.NoError(t, err)
	files := map[string]string{}
	for _, f := range pl.files {
		files[f.path] = string(f.data)
	}
	want, err := os.ReadFile(root)
	require.NoError(t, err)
	require.Equal(t, string(want), files["/etc/rightscale.d/mirror/root.json"])
	require.Contains(t, files["/etc/rightscale.d/mirror/mirrors"], "\nhttps://m.example/x\ns3://bucket/x\n")
	require.Equal(t, "stable", files["/etc/rightscale.d/rightscale-release"])
	require.Equal(t, "deb", files["/root/.rightscale/rightlink_1.2.3_amd64.deb"])
	require.NotContains(t, files, "/etc/rightscale.d/mirror/allow-unsigned")
}

type quiet struct{}

func (quiet) Say(string) {}
