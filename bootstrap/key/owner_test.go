// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package key_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func requireOwner(t *testing.T, path string, uid, gid int) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	st, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Equal(t, []int{uid, gid}, []int{int(st.Uid), int(st.Gid)}, path)
}
