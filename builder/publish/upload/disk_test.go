// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// small is a block size for tests of many blocks.
const small = 4096

// image is a disk that can be changed.
type image struct {
	t     testing.TB
	path  string
	block int64
	rng   *rand.ChaCha8
}

// newImage makes a disk of n blocks of random data, and a hole behind them.
func newImage(t testing.TB, block int64, n int64) *image {
	t.Helper()
	i := &image{t: t, path: filepath.Join(t.TempDir(), "disk.raw"), block: block, rng: rand.NewChaCha8([32]byte{1})}
	require.NoError(t, os.WriteFile(i.path, nil, 0o600))
	for index := range n {
		i.fill(index)
	}
	require.NoError(t, os.Truncate(i.path, (n+10)*block))
	return i
}

// fill puts new random data into a block.
func (i *image) fill(index int64) {
	i.t.Helper()
	data := make([]byte, i.block)
	_, _ = i.rng.Read(data)
	i.write(index, data)
}

// clear puts zeros into a block.
func (i *image) clear(index int64) { i.write(index, make([]byte, i.block)) }

func (i *image) write(index int64, data []byte) {
	i.t.Helper()
	f, err := os.OpenFile(i.path, os.O_WRONLY, 0)
	require.NoError(i.t, err)
	_, err = f.WriteAt(data, index*i.block)
	require.NoError(i.t, err)
	require.NoError(i.t, f.Close())
}

func (i *image) open() *sparse.Disk {
	i.t.Helper()
	d, err := sparse.OpenBlocks(i.path, i.block)
	require.NoError(i.t, err)
	i.t.Cleanup(func() { _ = d.Close() })
	return d
}

// sumsOf reads a disk; zeros are left out.
func sumsOf(t testing.TB, d *sparse.Disk) map[int64]sparse.Sum {
	t.Helper()
	all := map[int64]sparse.Sum{}
	buf := make([]byte, d.BlockSize())
	for index, err := range d.Blocks() {
		require.NoError(t, err)
		require.NoError(t, d.Read(index, buf))
		if !sparse.IsZero(buf) {
			all[index] = sparse.Checksum(buf)
		}
	}
	return all
}
