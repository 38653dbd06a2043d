// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

func TestJournalBelongsToOneUpload(t *testing.T) {
	img := newImage(t, small, 30)
	s := newService(small, trouble{})
	o := Options{Journal: filepath.Join(t.TempDir(), "journal")}
	first, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	_, own, err := inMemory(t.Context(), s, img.open(), o)
	require.ErrorContains(t, err, o.Journal)
	require.ErrorContains(t, err, "is under way")
	require.Empty(t, own.made, "it is the other one's snapshot")
	require.FileExists(t, o.Journal)
	require.NoError(t, first.Forget())
	second, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	require.NoError(t, second.Forget())
}

func TestJournalIsNotWrittenOverSomethingElse(t *testing.T) {
	img := newImage(t, small, 30)
	path := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.WriteFile(path, []byte("something else"), 0o600))
	_, _, err := inMemory(t.Context(), newService(small, trouble{}), img.open(), Options{Journal: path})
	require.ErrorContains(t, err, "is something else")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "something else", string(data))
}

func TestJournalOutlivesDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _, err := openJournal(path)
	require.NoError(t, err)
	require.NoError(t, errors.Join(j.begin(header{Token: "t"}), j.name("snap-1"), j.intend(7), j.done(7, sparse.Sum{1}), j.intend(8), j.done(8, sparse.Sum{2})))
	require.NoError(t, j.file.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range len(whole) + 1 {
		p, good := parse(whole[:max(n, len(journalMagic))])
		require.LessOrEqual(t, good, max(n, len(journalMagic)))
		if p != nil {
			require.LessOrEqual(t, len(p.records), 4)
		}
	}
	for n := range whole[len(journalMagic):] {
		data := append([]byte(nil), whole...)
		data[len(journalMagic)+n] ^= 0x40
		p, _ := parse(data)
		if p != nil {
			require.Less(t, len(p.records), 4, "a damaged record is not believed")
		}
	}
	// What is written after a torn end is read again.
	require.NoError(t, os.Truncate(path, int64(len(whole)-3)))
	j, p, err := openJournal(path)
	require.NoError(t, err)
	require.Len(t, p.records, 3)
	require.NoError(t, j.done(9, sparse.Sum{3}))
	require.NoError(t, j.file.Close())
	_, p, err = openJournal(path)
	require.NoError(t, err)
	require.Equal(t, record{index: 9, done: true, sum: sparse.Sum{3}}, p.records[3])
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, good := parse(append([]byte(journalMagic), data...))
		if good > len(journalMagic)+len(data) || p == nil && good != 0 {
			t.Fatal(good)
		}
	})
}
