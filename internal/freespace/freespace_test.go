// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package freespace

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBelow(t *testing.T) {
	dir := t.TempDir()
	free, err := Below(dir)
	require.NoError(t, err)
	require.Positive(t, free)

	missing := filepath.Join(dir, "none")
	_, err = Below(missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, missing)
}
