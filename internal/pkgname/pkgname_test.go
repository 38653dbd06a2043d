// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package pkgname_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

func TestParse(t *testing.T) {
	for name, want := range map[string]pkgname.Info{
		"rightlink_0.1.0_amd64.deb":                  {Version: "0.1.0", Arch: "amd64", Format: "deb"},
		"rightlink_0.1.0-rc1_arm64.tar.gz":           {Version: "0.1.0-rc1", Arch: "arm64", Format: "tar.gz"},
		"rightlink-patch_0.1.0_2_amd64.tar.gz":       {Version: "0.1.0", Arch: "amd64", Format: "patch", Patch: 2},
		"rightscale_5.8.8-ubuntu_12.04-amd64.deb":    {Version: "5.8.8", Arch: "amd64", Format: "deb", Distro: "ubuntu", OSVersion: "12.04"},
		"rightscale_5.8.8-rc1-centos_6.5-x86_64.rpm": {Version: "5.8.8-rc1", Arch: "amd64", Format: "rpm", Distro: "centos", OSVersion: "6.5"},
	} {
		got, err := pkgname.Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for _, name := range []string{"", "rightlink.deb", "rightlink_../x_amd64.deb", "rightlink_1_mips.deb", "rightlink-patch_1_0_amd64.tar.gz"} {
		_, err := pkgname.Parse(name)
		require.ErrorIs(t, err, pkgname.ErrName, name)
	}
}

func TestCompare(t *testing.T) {
	ordered := []string{"0.1.0-rc1", "0.1.0-rc2", "0.1.0", "0.1.1", "0.2", "0.10", "1.0-beta", "1.0", "1.0.1", "10"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := pkgname.Compare(a, b)
			switch {
			case i < j:
				require.Negative(t, got, "%s %s", a, b)
			case i > j:
				require.Positive(t, got, "%s %s", a, b)
			default:
				require.Zero(t, got)
			}
		}
	}
}

func TestCandidates(t *testing.T) {
	i, err := pkgname.Parse("rightscale_5.8.8-ubuntu_12.04-amd64.deb")
	require.NoError(t, err)
	require.Equal(t, []string{
		"5.8.8/rightscale_5.8.8-ubuntu_12.04-amd64.deb",
		"5.8.8/ubuntu/rightscale_5.8.8-ubuntu_12.04-amd64.deb",
		"rightscale_5.8.8-ubuntu_12.04-amd64.deb",
	}, i.Candidates(i.Target("rightscale_5.8.8-ubuntu_12.04-amd64.deb")))
}

func FuzzParse(f *testing.F) {
	f.Add("rightlink_0.1.0_amd64.deb")
	f.Fuzz(func(t *testing.T, name string) {
		i, err := pkgname.Parse(name)
		if err == nil && (i.Version == "" || i.Format == "") {
			t.Fatal(name)
		}
	})
}
