// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package seal

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	_, err := Load(path, false)
	require.ErrorIs(t, err, os.ErrNotExist)

	// Many processes may start at once; all must end with one key.
	keys := make([]*Keys, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := Load(path, true)
			if err == nil {
				keys[i] = k
			}
		})
	}
	wg.Wait()
	sealed := keys[0].Seal("credential 1/A", "value")
	require.NotContains(t, string(sealed), "value")
	require.NotEqual(t, sealed, keys[0].Seal("credential 1/A", "value"), "a fresh nonce each time")
	for _, k := range keys {
		plain, err := k.Open("credential 1/A", sealed)
		require.NoError(t, err)
		require.Equal(t, "value", plain)
		require.True(t, k.Verify("p", "m", keys[0].Sign("p", "m")))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary files stay")

	for name, bad := range map[string][]byte{"moved": sealed, "empty": nil, "version": {9, 1, 2}, "short": {1, 2}, "changed": append([]byte{}, append(sealed[:len(sealed)-1:len(sealed)-1], sealed[len(sealed)-1]^1)...)} {
		place := "credential 1/A"
		if name == "moved" {
			place = "credential 1/B"
		}
		_, err := keys[0].Open(place, bad)
		require.ErrorIs(t, err, ErrOpen, name)
	}
	require.False(t, keys[0].Verify("other purpose", "m", keys[0].Sign("p", "m")))

	require.NoError(t, os.WriteFile(path, []byte("short\n"), 0o600))
	_, err = Load(path, true)
	require.ErrorContains(t, err, "restore it from a backup")
}
