// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Several may look into one disk at a time, and none waits for another.
func TestInspectLeavesOtherLooksAlone(t *testing.T) {
	needRoot(t)
	disk := makeDisk(t, "gpt", part{size: 48, tree: system(t, "shared")})
	devices := func() []string {
		list, err := loopsOf(context.Background(), run.Exec{}, disk)
		require.NoError(t, err)
		return list
	}
	require.NoError(t, Inspect(t.Context(), disk, func(outer string) error {
		mine := devices()
		require.Len(t, mine, 1)
		require.NoError(t, Inspect(t.Context(), disk, func(inner string) error {
			require.NotEqual(t, outer, inner)
			require.Len(t, devices(), 2)
			return nil
		}))
		require.Equal(t, mine, devices())
		_, err := os.ReadDir(filepath.Join(outer, "etc"))
		require.NoError(t, err)
		return nil
	}))
	require.Empty(t, devices())
}
