// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// based uploads an image and returns it as a parent.
func based(t *testing.T, s *service, img *image) *Parent {
	t.Helper()
	snap, _, err := inMemory(t.Context(), s, img.open(), Options{})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "disk.blocks")
	require.NoError(t, snap.Manifest.WriteFile(path))
	m, err := ReadManifest(path)
	require.NoError(t, err)
	require.Equal(t, snap.ID, m.Snapshots["here-1"])
	clear(s.puts)
	clear(s.calls)
	return &Parent{SnapshotID: snap.ID, Manifest: m}
}

func TestIncremental(t *testing.T) {
	img := newImage(t, small, 1000)
	s := newService(small, trouble{})
	parent := based(t, s, img)
	for index := range int64(17) {
		img.fill(index * 50)
	}
	img.clear(999)
	img.clear(998)
	img.fill(1005)
	snap, own, err := inMemory(t.Context(), s, img.open(), Options{Parent: parent})
	require.NoError(t, err)
	require.True(t, snap.Incremental)
	require.EqualValues(t, 20, snap.SentBlocks)
	require.EqualValues(t, 20*small, snap.SentBytes)
	require.Len(t, s.puts, 20)
	require.EqualValues(t, 999, snap.TotalBlocks)
	require.Equal(t, parent.SnapshotID, s.snaps[snap.ID].parent)
	require.Empty(t, own.lines)
	s.same(t, img.open(), snap.ID)

	full, _, err := inMemory(t.Context(), s, img.open(), Options{})
	require.NoError(t, err)
	require.Equal(t, full.Checksum, snap.Checksum, "it depends on the disk alone")

	// The next one builds on the incremental one.
	img.fill(0)
	next, _, err := inMemory(t.Context(), s, img.open(), Options{Parent: &Parent{SnapshotID: snap.ID, Manifest: snap.Manifest}})
	require.NoError(t, err)
	require.EqualValues(t, 1, next.SentBlocks)
	s.same(t, img.open(), next.ID)
}

func TestIncrementalOfAnUnchangedDisk(t *testing.T) {
	img := newImage(t, small, 100)
	s := newService(small, trouble{})
	snap, _, err := inMemory(t.Context(), s, img.open(), Options{Parent: based(t, s, img)})
	require.NoError(t, err)
	require.Zero(t, snap.SentBlocks)
	s.same(t, img.open(), snap.ID)
}

func TestIncrementalResumed(t *testing.T) {
	img := newImage(t, small, 300)
	s := newService(small, trouble{})
	parent := based(t, s, img)
	for index := range int64(100) {
		img.fill(index)
	}
	img.clear(250)
	o := Options{Parent: parent, Journal: die(t, s, img.open(), Options{Parent: parent}, 60)}
	snap, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	require.True(t, snap.Resumed)
	require.True(t, snap.Incremental)
	require.LessOrEqual(t, len(s.puts), 41+widthFirst)
	s.same(t, img.open(), snap.ID)

	// Without the parent what is below the snapshot is not known.
	o = Options{Journal: die(t, s, img.open(), Options{Parent: parent}, 60)}
	snap, own, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	require.False(t, snap.Resumed)
	require.Contains(t, own.stale[0].Why, "it is based on snap-1, and the parent is no snapshot now")
	s.same(t, img.open(), snap.ID)
}

func TestParentThatDoesNotFit(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(s *service, p *Parent)
		why    string
	}{
		"gone":             {func(s *service, p *Parent) { delete(s.snaps, p.SnapshotID) }, "absent"},
		"not complete":     {func(s *service, p *Parent) { s.snaps[p.SnapshotID].sealed = false }, "pending"},
		"larger":           {func(_ *service, p *Parent) { p.Manifest.VolumeGiB = 2 }, "has 2 GiB, the disk has 1"},
		"other blocks":     {func(_ *service, p *Parent) { p.Manifest.BlockSize = 512 }, "512 bytes"},
		"without manifest": {func(_ *service, p *Parent) { p.Manifest = nil }, "no manifest"},
		"refused": {func(s *service, _ *Parent) {
			s.fail = func(action string, nth int, _ int64) error {
				if action == "StartSnapshot" && nth == 1 {
					return &ebstypes.ValidationException{}
				}
				return nil
			}
		}, "the service refuses it"},
	} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, small, 50)
			s := newService(small, trouble{})
			parent := based(t, s, img)
			tc.change(s, parent)
			snap, own, err := inMemory(t.Context(), s, img.open(), Options{Parent: parent})
			require.NoError(t, err)
			require.False(t, snap.Incremental)
			require.EqualValues(t, 50, snap.SentBlocks)
			require.Contains(t, own.lines[0], "full")
			require.Contains(t, own.lines[0], tc.why)
			s.same(t, img.open(), snap.ID)
		})
	}
}

// Encryption is inherited: to ask for it together with a parent is an error.
func TestParentBringsItsEncryption(t *testing.T) {
	img := newImage(t, small, 10)
	s := newService(small, trouble{})
	parent := based(t, s, img)
	var own owner
	target := own.target(s, memory{s})
	target.Start = func(string) *ebs.StartSnapshotInput {
		on, key := true, "key"
		return &ebs.StartSnapshotInput{Encrypted: &on, KmsKeyArn: &key}
	}
	snap, err := Upload(t.Context(), img.open(), target, Options{Parent: parent})
	require.NoError(t, err)
	require.True(t, snap.Incremental)
}

func TestManifest(t *testing.T) {
	m := &Manifest{BlockSize: 512 << 10, VolumeGiB: 8, Sums: &sparse.Linear{}, Snapshots: map[string]string{"a": "snap-1", "b": "snap-2"}}
	for _, index := range []int64{0, 1, 5, 1000, maxBlocks - 1} {
		m.Sums.Add(index, sparse.Checksum([]byte{byte(index)}))
	}
	var buf bytes.Buffer
	require.NoError(t, m.Encode(&buf))
	got, err := DecodeManifest(bytes.NewReader(buf.Bytes()))
	require.NoError(t, err)
	require.Equal(t, m.Snapshots, got.Snapshots)
	require.Equal(t, m.Sums.Aggregate(), got.Sums.Aggregate())
	require.EqualValues(t, 8, got.VolumeGiB)
	for n := range buf.Len() {
		_, err := DecodeManifest(bytes.NewReader(buf.Bytes()[:n]))
		require.Error(t, err, "cut off after %d bytes", n)
		damaged := bytes.Clone(buf.Bytes())
		damaged[n] ^= 0x10
		if got, err := DecodeManifest(bytes.NewReader(damaged)); err == nil { // the gzip header has bytes that mean nothing
			require.Equal(t, m.Sums.Aggregate(), got.Sums.Aggregate())
		}
	}
	_, err = ReadManifest(filepath.Join(t.TempDir(), "absent"))
	require.ErrorContains(t, err, "absent")
}

func FuzzManifest(f *testing.F) {
	var buf bytes.Buffer
	m := &Manifest{BlockSize: 512 << 10, VolumeGiB: 8, Sums: &sparse.Linear{}}
	m.Sums.Add(3, sparse.Sum{1})
	if err := m.Encode(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = DecodeManifest(bytes.NewReader(data)) })
}
