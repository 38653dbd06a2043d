// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// Records that name no package belong to none, wherever they stand.
func TestApkOwners(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "lib/apk/db/installed")
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte("V:1\nF:etc\nR:lost\n\nP:busybox\nV:1.37\nF:bin\nR:busybox\n\nV:2\nF:etc\nR:found\n"), 0o600))
	root, err := tree.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	o := readOwners(root)
	require.Equal(t, []installed{{name: "busybox", version: "1.37", state: "install ok installed"}}, o.packages)
	owner, ok := o.of("/bin/busybox")
	require.True(t, ok)
	require.Equal(t, "busybox", owner)
	for _, p := range []string{"/etc/lost", "/etc/found"} {
		_, ok := o.of(p)
		require.False(t, ok, p)
	}
}
