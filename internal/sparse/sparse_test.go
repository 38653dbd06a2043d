// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sparse

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func disk(t testing.TB, block int64, content []byte) *Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	d, err := OpenBlocks(path, block)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func indices(t testing.TB, d *Disk) []int64 {
	t.Helper()
	var all []int64
	for i, err := range d.Blocks() {
		require.NoError(t, err)
		all = append(all, i)
	}
	return all
}

func TestBlocksOfExtents(t *testing.T) {
	for name, tc := range map[string]struct {
		extents [][2]int64
		want    []int64
	}{
		"no data":                   {nil, nil},
		"all data":                  {[][2]int64{{0, 18}}, []int64{0, 1, 2, 3, 4}},
		"first byte":                {[][2]int64{{0, 1}}, []int64{0}},
		"last byte":                 {[][2]int64{{17, 18}}, []int64{4}},
		"ends on a border":          {[][2]int64{{4, 8}}, []int64{1}},
		"two stretches in one":      {[][2]int64{{4, 5}, {6, 7}}, []int64{1}},
		"second starts where first": {[][2]int64{{2, 5}, {6, 9}}, []int64{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			d := disk(t, 4, make([]byte, 18))
			d.next = func(off int64) (int64, int64, error) {
				for _, e := range tc.extents {
					if e[1] > off {
						return max(e[0], off), e[1], nil
					}
				}
				return 0, 0, errNoData
			}
			require.Equal(t, tc.want, indices(t, d))
			n, err := d.DataBytes()
			require.NoError(t, err)
			require.Equal(t, int64(len(tc.want))*4, n)
		})
	}
}

func TestBlocksWhereHolesAreNotKnown(t *testing.T) {
	d := disk(t, 4, make([]byte, 10))
	d.next = func(int64) (int64, int64, error) { return 0, 0, errNoSeek }
	require.Equal(t, []int64{0, 1, 2}, indices(t, d))
}

func TestBlocksReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	d := disk(t, 4, make([]byte, 10))
	d.next = func(int64) (int64, int64, error) { return 0, 0, broken }
	_, err := d.DataBytes()
	require.ErrorIs(t, err, broken)
}

func TestBlocksOfARealSparseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(3*GiB+5))
	for _, off := range []int64{0, GiB + 7, 3*GiB + 4} {
		_, err = f.WriteAt([]byte{1}, off)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	d, err := Open(path)
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, int64(4), d.SizeGiB())
	var found []int64
	buf := make([]byte, BlockSize)
	for _, i := range indices(t, d) {
		require.NoError(t, d.Read(i, buf))
		if !IsZero(buf) {
			found = append(found, i)
		}
	}
	require.Equal(t, []int64{0, 2048, 6144}, found)
	n, err := d.DataBytes()
	require.NoError(t, err)
	require.Less(t, n, int64(64<<20), "holes are not read")
}

func TestReadPadsTheEnd(t *testing.T) {
	d := disk(t, 4, []byte("abcdef"))
	buf := []byte("xxxx")
	require.NoError(t, d.Read(1, buf))
	require.Equal(t, []byte("ef\x00\x00"), buf)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = Open(empty)
	require.ErrorContains(t, err, "is empty")
}

func TestIsZero(t *testing.T) {
	for n := range 40 {
		block := make([]byte, n)
		require.True(t, IsZero(block))
		for i := range n {
			block[i] = 1
			require.False(t, IsZero(block), "%d of %d", i, n)
			block[i] = 0
		}
	}
}

func TestChecksums(t *testing.T) {
	// SHA-256 of nothing and of "abc", from FIPS 180-2.
	require.Equal(t, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", Checksum(nil).Base64())
	abc := Checksum([]byte("abc"))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hex.EncodeToString(abc[:]))

	var l Linear
	require.Equal(t, Checksum(nil), l.Aggregate())
	second := Checksum([]byte("second"))
	l.Add(9, second)
	l.Add(2, abc)
	l.Add(2, abc)
	require.Equal(t, 2, l.Len())
	require.Equal(t, Sum(sha256.Sum256(append(abc[:], second[:]...))), l.Aggregate(), "order of the index, not of arrival")
}

func TestLinear(t *testing.T) {
	var l Linear
	_, ok := l.Get(0)
	require.False(t, ok)
	for _, index := range []int64{1 << 27, 0, 63, 64, 65, 1 << 20} {
		l.Add(index, Sum{byte(index % 251)})
	}
	l.Remove(65)
	l.Remove(66)
	require.Equal(t, 5, l.Len())
	var order []int64
	for index, sum := range l.All() {
		require.Equal(t, Sum{byte(index % 251)}, sum)
		got, ok := l.Get(index)
		require.True(t, ok)
		require.Equal(t, sum, got)
		order = append(order, index)
	}
	require.Equal(t, []int64{0, 63, 64, 1 << 20, 1 << 27}, order)
	for range l.All() {
		break
	}
	l.Add(65, Sum{}) // the lock is free again
}

func BenchmarkIsZero(b *testing.B) {
	block := make([]byte, BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		if !IsZero(block) {
			b.Fatal("not zero")
		}
	}
}
