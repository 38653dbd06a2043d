// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// die uploads until the service got n blocks, and leaves behind what a run
// leaves that is killed then.
func die(t *testing.T, s *service, d *sparse.Disk, o Options, n int) (journal string) {
	t.Helper()
	journal = filepath.Join(t.TempDir(), "journal")
	o.Journal = filepath.Join(t.TempDir(), "theirs")
	ctx, kill := context.WithCancel(t.Context())
	s.fail = func(action string, nth int, _ int64) error {
		if action != "PutSnapshotBlock" || nth <= n {
			return nil
		}
		if nth == n+1 {
			data, err := os.ReadFile(o.Journal)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(journal, data, 0o600))
			kill()
		}
		return context.Canceled
	}
	_, _, err := inMemory(ctx, s, d, o)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, o.Journal, "an ordinary end leaves no journal")
	s.fail = nil
	clear(s.puts)
	clear(s.calls)
	return journal
}

func TestResume(t *testing.T) {
	img := newImage(t, small, 300)
	s := newService(small, trouble{})
	o := Options{Journal: die(t, s, img.open(), Options{}, 200)}
	snap, own, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	require.True(t, snap.Resumed)
	require.Equal(t, "snap-1", snap.ID)
	require.Len(t, s.snaps, 1)
	require.Equal(t, []string{"snap-1"}, own.made)
	require.Zero(t, s.calls["StartSnapshot"])
	require.GreaterOrEqual(t, len(s.puts), 100)
	require.LessOrEqual(t, len(s.puts), 100+widthFirst, "what was under way, and no more, is sent twice")
	require.EqualValues(t, len(s.puts), snap.SentBlocks)
	require.EqualValues(t, 300, snap.TotalBlocks)
	require.Contains(t, own.lines[0], "going on with snap-1")
	s.same(t, img.open(), snap.ID)
	require.FileExists(t, o.Journal)
	require.NoError(t, snap.Forget())
	require.NoFileExists(t, o.Journal)
	require.NoError(t, (*Snapshot)(nil).Forget())
}

func TestResumeWithAnotherDisk(t *testing.T) {
	img := newImage(t, small, 300)
	s := newService(small, trouble{})
	o := Options{Journal: die(t, s, img.open(), Options{}, 200)}
	img.fill(5)
	img.fill(6)
	img.clear(7)
	img.fill(305)
	snap, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	require.Equal(t, "snap-1", snap.ID)
	require.LessOrEqual(t, len(s.puts), 100+4+widthFirst)
	for _, index := range []int64{5, 6, 7, 305} {
		require.Equal(t, 1, s.puts[index], index)
	}
	s.same(t, img.open(), snap.ID)
}

// A block that was under way and is a hole now may or may not be there.
func TestResumeClearsWhatWasUnderWay(t *testing.T) {
	img := newImage(t, small, 40)
	s := newService(small, trouble{})
	o := Options{Journal: die(t, s, img.open(), Options{}, 20)}
	j, old, err := openJournal(o.Journal)
	require.NoError(t, err)
	require.NoError(t, j.file.Close())
	open := map[int64]bool{}
	for _, r := range old.records {
		open[r.index] = !r.done
	}
	for index, is := range open {
		if is {
			img.clear(index)
		} else {
			delete(open, index)
		}
	}
	require.NotEmpty(t, open)
	snap, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	for index := range open {
		require.Equal(t, 1, s.puts[index], "zeros are stored")
	}
	s.same(t, img.open(), snap.ID)
}

func TestResumeAfterCompletion(t *testing.T) {
	img := newImage(t, small, 30)
	s := newService(small, trouble{})
	o := Options{Journal: filepath.Join(t.TempDir(), "journal")}
	first, _, err := inMemory(t.Context(), s, img.open(), o)
	require.NoError(t, err)
	data, err := os.ReadFile(o.Journal)
	require.NoError(t, err)
	require.NoError(t, first.Forget())
	again := func() (*Snapshot, *owner, error) {
		require.NoError(t, os.WriteFile(o.Journal, data, 0o600))
		return inMemory(t.Context(), s, img.open(), o)
	}

	snap, _, err := again()
	require.NoError(t, err)
	require.Equal(t, first.ID, snap.ID)
	require.Zero(t, snap.SentBlocks)
	require.Equal(t, 1, s.calls["CompleteSnapshot"])
	require.Equal(t, first.Checksum, snap.Checksum)
	require.NoError(t, snap.Forget())

	img.fill(3)
	snap, own, err := again()
	require.NoError(t, err)
	require.NotEqual(t, first.ID, snap.ID)
	require.Equal(t, first.ID, own.stale[0].SnapshotID)
	require.Equal(t, []string{first.ID}, own.forgiven)
	require.Contains(t, own.stale[0].Why, "the disk has changed")
	s.same(t, img.open(), snap.ID)
}

func TestResumeStartsOver(t *testing.T) {
	encrypted := func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(true) }
	for name, tc := range map[string]struct {
		change func(t *testing.T, s *service, img *image, journal string)
		start  func(*ebs.StartSnapshotInput)
		why    string
		lost   bool // the journal itself is of no use
	}{
		"snapshot is gone":      {change: func(_ *testing.T, s *service, _ *image, _ string) { delete(s.snaps, "snap-1") }, why: "snap-1 is absent"},
		"disk has grown":        {change: func(t *testing.T, _ *service, img *image, _ string) { require.NoError(t, os.Truncate(img.path, 3<<30)) }, why: "1 GiB, and the disk has 3 GiB"},
		"encryption is wanted":  {start: encrypted, why: "encryption"},
		"other blocks are in":   {change: func(_ *testing.T, s *service, _ *image, _ string) { s.snaps["snap-1"].blocks[1000] = sparse.Sum{} }, why: "blocks with another sum"},
		"service forgot blocks": {change: func(_ *testing.T, s *service, _ *image, _ string) { delete(s.snaps["snap-1"].blocks, 0) }, why: "blocks with another sum"},
		"snapshot was completed": {change: func(_ *testing.T, s *service, _ *image, _ string) { s.snaps["snap-1"].sealed = true },
			why: "it was completed"},
		"journal of another version": {change: func(t *testing.T, _ *service, _ *image, journal string) {
			require.NoError(t, os.WriteFile(journal, []byte(journalMagic+"H\x00\x02{}1234"), 0o600))
		}, lost: true},
		"journal is cut off": {change: func(t *testing.T, _ *service, _ *image, journal string) {
			require.NoError(t, os.Truncate(journal, 10))
		}, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, small, 30)
			s := newService(small, trouble{})
			var own owner
			o := Options{Journal: die(t, s, img.open(), Options{}, 20), Say: own.say}
			if tc.change != nil {
				tc.change(t, s, img, o.Journal)
			}
			target := own.target(s, memory{s})
			if start := target.Start; tc.start != nil {
				target.Start = func(token string) *ebs.StartSnapshotInput {
					in := start(token)
					tc.start(in)
					return in
				}
			}
			snap, err := Upload(t.Context(), img.open(), target, o)
			require.NoError(t, err)
			require.False(t, snap.Resumed)
			require.EqualValues(t, 30, snap.SentBlocks)
			s.same(t, img.open(), snap.ID)
			if tc.lost {
				return
			}
			require.NotEqual(t, "snap-1", snap.ID)
			require.Equal(t, "snap-1", own.stale[0].SnapshotID)
			require.Contains(t, own.stale[0].Why, tc.why)
			require.Contains(t, own.lines[len(own.lines)-1], "starting over")
		})
	}
}

// The run died while its snapshot was being started.
func TestResumeFindsTheSnapshotByItsToken(t *testing.T) {
	img := newImage(t, small, 30)
	for name, refuse := range map[string]bool{"same request": false, "request has changed": true} {
		t.Run(name, func(t *testing.T) {
			s := newService(small, trouble{})
			o := Options{Journal: filepath.Join(t.TempDir(), "journal")}
			j, _, err := openJournal(o.Journal)
			require.NoError(t, err)
			require.NoError(t, j.begin(header{Token: "the token", VolumeGiB: 1, BlockSize: small}))
			require.NoError(t, j.file.Close())
			_, err = s.start(&ebs.StartSnapshotInput{ClientToken: aws.String("the token")})
			require.NoError(t, err)
			s.fail = func(action string, nth int, _ int64) error {
				if refuse && action == "StartSnapshot" && nth == 2 {
					return &ebstypes.ConflictException{}
				}
				return nil
			}
			snap, own, err := inMemory(t.Context(), s, img.open(), o)
			require.NoError(t, err)
			s.same(t, img.open(), snap.ID)
			if refuse {
				require.Equal(t, "snap-2", snap.ID)
				require.Equal(t, "the token", own.stale[0].Token)
				return
			}
			require.Equal(t, "snap-1", snap.ID)
			require.Equal(t, "the token", snap.Token)
			require.Empty(t, own.stale)
		})
	}
}

func TestOrdinaryFailureLeavesNoJournal(t *testing.T) {
	img := newImage(t, small, 30)
	for _, action := range []string{"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot"} {
		s := newService(small, trouble{})
		s.fail = func(a string, _ int, _ int64) error {
			if a == action {
				return &ebstypes.AccessDeniedException{}
			}
			return nil
		}
		o := Options{Journal: filepath.Join(t.TempDir(), "journal")}
		_, own, err := inMemory(t.Context(), s, img.open(), o)
		var denied *ebstypes.AccessDeniedException
		require.ErrorAs(t, err, &denied)
		require.NoFileExists(t, o.Journal)
		require.Empty(t, own.unknown)
		require.Len(t, own.made, len(s.snaps))
	}
}
