// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
)

// TestUninstall: the tree is as it was before the provisioner came.
func TestUninstall(t *testing.T) {
	newMetadata(t, query)
	root := newRoot(t)
	for _, s := range []string{"rightimage", "rightlink"} {
		do(t, root, s)
	}
	m := &machine{root: root}
	_, err := agent(root, m).Uninstall(context.Background(), false)
	require.ErrorIs(t, err, bootstrap.ErrPackage)
	require.ErrorContains(t, err, "dpkg --purge rightlink")
	_, err = agent(root, m).Uninstall(context.Background(), true)
	require.NoError(t, err)
	left := strings.Join(tree(t, root), "\n")
	for _, word := range []string{"rightscale", "rightlink", "rightboot", "rightimage", "spool/cloud", "spool/ec2", "http_proxy"} {
		require.NotContains(t, left, word)
	}
	_, err = agent(root, m).Uninstall(context.Background(), false)
	require.NoError(t, err, "a second time is fine")
}

func TestUninstallKeepsForeignFiles(t *testing.T) {
	root := newRoot(t)
	put(t, root, "etc/rightscale.d/mine", "x", 0o644)
	put(t, root, "etc/profile.d/http_proxy.sh", "export http_proxy=mine\n", 0o644)
	_, err := agent(root, &machine{root: root}).Uninstall(context.Background(), false)
	require.NoError(t, err)
	require.Equal(t, "x", read(t, root, "etc/rightscale.d/mine"))
	require.Equal(t, "export http_proxy=mine\n", read(t, root, "etc/profile.d/http_proxy.sh"))
	require.NoDirExists(t, filepath.Join(root, "opt/rightscale"))
}
