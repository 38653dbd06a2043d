// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agents

import (
	"bytes"
	"compress/gzip"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestNotEmbedded(t *testing.T) {
	empty := fstest.MapFS{"dist/README": {Data: []byte("x")}}
	_, err := bootstrap(empty, "amd64")
	require.ErrorIs(t, err, ErrNotEmbedded)
	require.ErrorContains(t, err, "make generate")
	_, err = packages(empty, "amd64")
	require.ErrorIs(t, err, ErrNotEmbedded)
	_, err = Bootstrap("mips")
	require.ErrorIs(t, err, ErrNotEmbedded, "an architecture that nobody builds")
}

func TestEmbedded(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write([]byte("binary"))
	require.NoError(t, zip.Close())
	full := fstest.MapFS{
		"dist/bootstrap_linux_amd64.gz":     {Data: packed.Bytes()},
		"dist/rightlink_0.1.0_amd64.tar.gz": {Data: []byte("tar")},
		"dist/rightlink_0.1.0_amd64.deb":    {Data: []byte("deb")},
		"dist/rightlink_0.1.0_amd64.rpm":    {Data: []byte("rpm")},
		"dist/rightlink_0.1.0_arm64.deb":    {Data: []byte("other")},
	}
	data, err := bootstrap(full, "amd64")
	require.NoError(t, err)
	require.Equal(t, "binary", string(data))
	all, err := packages(full, "amd64")
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, "rightlink_0.1.0_amd64.deb", all[0].Name)
	require.Equal(t, "rightlink_0.1.0_amd64.rpm", all[1].Name)
	require.Equal(t, "rightlink_0.1.0_amd64.tar.gz", all[2].Name)
	require.Len(t, all[0].SHA256, 64)
}
