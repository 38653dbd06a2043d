// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, time.Now)
	require.NoError(t, err)
	return s
}

func create(t *testing.T, s *Store, id, parent string) {
	t.Helper()
	require.NoError(t, s.Update("r-1", func(r *Region) error {
		return s.CreateSnapshot(r, Snapshot{ID: id, ParentID: parent, SizeGiB: 1, StartTime: s.Now(), Timeout: time.Hour})
	}))
}

func fill(b byte) ([]byte, Sum) {
	data := make([]byte, BlockSize)
	for i := range data {
		data[i] = b
	}
	return data, sha256.Sum256(data)
}

func put(t *testing.T, s *Store, id string, index int, b byte) {
	t.Helper()
	data, sum := fill(b)
	require.NoError(t, s.PutBlock("r-1", id, index, data, sum))
}

func agree(int, Sum) error { return nil }

func state(t *testing.T, s *Store, id string) (state string) {
	t.Helper()
	require.NoError(t, s.View("r-1", func(r *Region) error {
		snap, ok := s.Snapshot(r, id)
		require.True(t, ok)
		state = snap.State
		return nil
	}))
	return state
}

func TestZeroBlocksAreHolesThatCount(t *testing.T) {
	s := open(t, t.TempDir())
	defer func() { require.NoError(t, s.Close()) }()
	create(t, s, "snap-1", "")
	put(t, s, "snap-1", 0, 0)
	put(t, s, "snap-1", 1, 7)
	put(t, s, "snap-1", 1, 0) // zeroes over data
	require.NoError(t, s.Seal("r-1", "snap-1", 0, func(n int, _ Sum) error { require.Equal(t, 2, n); return nil }))
	data, _, err := s.GetBlock("r-1", "snap-1", 1)
	require.NoError(t, err)
	require.True(t, isZero(data))
	data7, sum7 := fill(7)
	require.ErrorIs(t, s.PutBlock("r-1", "snap-1", 0, data7, sum7), ErrNotPending)
	require.ErrorIs(t, s.Seal("r-1", "snap-1", 0, agree), ErrNotPending)
}

func TestZeroBlockHidesTheParent(t *testing.T) {
	s := open(t, t.TempDir())
	defer func() { require.NoError(t, s.Close()) }()
	create(t, s, "snap-1", "")
	put(t, s, "snap-1", 3, 7)
	require.NoError(t, s.Seal("r-1", "snap-1", 0, agree))
	create(t, s, "snap-2", "snap-1")
	put(t, s, "snap-2", 3, 0)
	require.NoError(t, s.Seal("r-1", "snap-2", 0, agree))
	data, _, err := s.GetBlock("r-1", "snap-2", 3)
	require.NoError(t, err)
	require.True(t, isZero(data))
}

// A server that dies between "sealed" and "copied" finishes at its next start.
func TestRestartFinishesACompletion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, "snap-1", "")
	put(t, s, "snap-1", 3, 7)
	require.NoError(t, s.Seal("r-1", "snap-1", 0, agree))
	create(t, s, "snap-2", "snap-1")
	put(t, s, "snap-2", 4, 8)
	require.NoError(t, s.Update("r-1", func(r *Region) error {
		return change(r, "snap-2", func(c *Snapshot) { c.Sealed = true })
	}))
	require.Equal(t, SnapshotPending, state(t, s, "snap-2"))
	require.NoError(t, s.Close())

	s = open(t, dir)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, SnapshotCompleted, state(t, s, "snap-2"))
	for index, b := range map[int]byte{3: 7, 4: 8} {
		data, sum, err := s.GetBlock("r-1", "snap-2", index)
		require.NoError(t, err)
		require.Equal(t, b, data[100])
		require.Equal(t, sha256.Sum256(data), sum)
	}
	require.NoFileExists(t, dir+"/regions/r-1/snapshots/snap-2.parent.raw")
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	token := s.Token("scope", "text")
	_, err := Open(dir, time.Now)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.Close())
	s = open(t, dir)
	defer func() { require.NoError(t, s.Close()) }()
	text, ok := s.OpenToken("scope", token)
	require.True(t, ok, "tokens outlive a restart")
	require.Equal(t, "text", text)
	_, ok = s.OpenToken("other", token)
	require.False(t, ok)
	for _, bad := range []string{"", "x", "AAAA", token[:len(token)-4]} {
		_, ok = s.OpenToken("scope", bad)
		require.False(t, ok, bad)
	}
}

func TestBrokenRecordIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	require.NoError(t, s.Update("r-1", func(r *Region) error { return r.Images.Put(Image{ID: "ami-1"}) }))
	require.NoError(t, s.Close())
	path := dir + "/regions/r-1/images/ami-1.json"
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err := Open(dir, time.Now)
	require.ErrorContains(t, err, path)
}
