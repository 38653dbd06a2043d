// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package features

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFeatures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "right_link", "features.yml")
	f, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, Features{DecommissionTimeout: 3 * time.Minute, FreezeRepositories: true, UpdateMOTD: true}, f)
	for name, value := range map[string]string{DecommissionTimeout: "60", ManagedLogin: "on", UpdateMOTD: "off"} {
		require.NoError(t, Set(path, name, value))
		f, err = Load(path)
		require.NoError(t, err)
		require.Equal(t, value, f.Value(name))
	}
	for name, value := range map[string]string{DecommissionTimeout: "0", ManagedLogin: "maybe", "nope.nope": "on"} {
		require.Error(t, Set(path, name, value))
	}
	// Somebody else's sections stay; a damaged file keeps the defaults and is not
	// overwritten.
	require.NoError(t, os.WriteFile(path, []byte("---\nother:\n  key: [1, 2]\nmotd: nonsense\n"), 0o600))
	require.NoError(t, Set(path, ManagedLogin, "on"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "other:")
	require.NoError(t, os.WriteFile(path, []byte("a: [\n"), 0o600))
	f, err = Load(path)
	require.Error(t, err)
	require.Equal(t, DefaultDecommissionTimeout, f.DecommissionTimeout)
	require.Error(t, Set(path, ManagedLogin, "on"))
}
