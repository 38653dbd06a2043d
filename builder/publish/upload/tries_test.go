// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

func TestRulesKnowEveryClass(t *testing.T) {
	seen := map[awsx.ErrorClass]bool{}
	for _, r := range rules() {
		require.False(t, seen[r.class], r.class)
		seen[r.class] = true
		if r.again || r.soon {
			require.Positive(t, r.first, r.class)
			require.GreaterOrEqual(t, r.longest, r.first, r.class)
			require.False(t, r.nothing, "%s: a repeated call may have got through", r.class)
		}
	}
	for _, class := range []awsx.ErrorClass{awsx.Throttled, awsx.Network, awsx.NotYet, awsx.Conflict, awsx.Denied, awsx.Quota, awsx.Fatal, awsx.Cancelled} {
		require.True(t, seen[class], class)
	}
}

// Each error is answered as its class says.
func TestErrors(t *testing.T) {
	d := newImage(t, small, 50).open()
	o := Options{StallTimeout: time.Minute, NotYet: 30 * time.Second}
	for name, tc := range map[string]struct {
		err   error
		times int // the first so many block requests fail; 0: all
		ok    bool
		took  time.Duration // when it fails
	}{
		"throttled":        {err: &ebstypes.RequestThrottledException{}, times: 300, ok: true},
		"too many":         {err: &ebstypes.ConcurrentLimitExceededException{}, times: 100, ok: true},
		"broken":           {err: &ebstypes.InternalServerException{}, times: 50, ok: true},
		"reply lost":       {err: io.ErrUnexpectedEOF, times: 50, ok: true},
		"conflict with us": {err: &ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonConflictingBlockUpdate}, times: 50, ok: true},
		"not there yet":    {err: &ebstypes.ResourceNotFoundException{}, times: 100, ok: true},
		"never there":      {err: &ebstypes.ResourceNotFoundException{}, took: 30 * time.Second},
		"denied":           {err: &ebstypes.AccessDeniedException{}},
		"quota":            {err: &ebstypes.ServiceQuotaExceededException{}},
		"wrong request":    {err: &ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidBlock}},
		"throttled always": {err: &ebstypes.RequestThrottledException{}, took: time.Minute},
		"no answer":        {err: context.DeadlineExceeded, took: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(small, trouble{})
				s.fail = func(action string, nth int, _ int64) error {
					if action == "PutSnapshotBlock" && (tc.times == 0 || nth <= tc.times) {
						return tc.err
					}
					return nil
				}
				begin := time.Now()
				snap, own, err := inMemory(t.Context(), s, d, o)
				if tc.ok {
					require.NoError(t, err)
					s.same(t, d, snap.ID)
					return
				}
				require.ErrorIs(t, err, tc.err)
				require.ErrorContains(t, err, "snap-1")
				require.InDelta(t, tc.took.Seconds(), time.Since(begin).Seconds(), 6)
				require.Equal(t, []string{"snap-1"}, own.made)
			})
		})
	}
}

func TestUploadEndsWhenNothingMoves(t *testing.T) {
	d := newImage(t, small, 500).open()
	synctest.Test(t, func(t *testing.T) {
		s := newService(small, trouble{hangAfter: 100, hangFor: 24 * time.Hour, latency: 10 * time.Millisecond})
		begin := time.Now()
		_, _, err := inMemory(t.Context(), s, d, Options{StallTimeout: 90 * time.Second})
		var stalled *StalledError
		require.ErrorAs(t, err, &stalled)
		require.ErrorContains(t, err, "upload_timeout")
		require.ErrorContains(t, err, "deadline exceeded")
		require.InDelta(t, 90, time.Since(begin).Seconds(), 3)
	})
}

func TestUploadEndsAfterItsTime(t *testing.T) {
	d := newImage(t, small, 500).open()
	synctest.Test(t, func(t *testing.T) {
		s := newService(small, trouble{perSecond: 10, latency: 10 * time.Millisecond})
		begin := time.Now()
		_, _, err := inMemory(t.Context(), s, d, Options{TotalTimeout: 20 * time.Second})
		var overdue *OverdueError
		require.ErrorAs(t, err, &overdue)
		require.ErrorContains(t, err, "20s in all")
		require.InDelta(t, 20, time.Since(begin).Seconds(), 1)
	})
}

// Replies of Start and Complete are lost: there is one snapshot, and it is
// complete.
func TestLostRepliesOfStartAndComplete(t *testing.T) {
	d := newImage(t, small, 20).open()
	for _, action := range []string{"StartSnapshot", "CompleteSnapshot"} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(small, trouble{})
			var own owner
			snap, err := Upload(t.Context(), d, own.target(s, &loser{memory: memory{s}, action: action}), Options{})
			require.NoError(t, err)
			require.Len(t, s.snaps, 1)
			require.True(t, s.snaps[snap.ID].sealed)
			require.Empty(t, own.unknown)
			require.Equal(t, 2, s.calls[action])
		})
	}
}

// The disk is slow to answer near its deadline: there must not be more at a
// time, which would make all of them late.
func TestFewAtATimeWhenAnswersComeLate(t *testing.T) {
	d := newImage(t, small, 300).open()
	synctest.Test(t, func(t *testing.T) {
		s := newService(small, trouble{latency: 20 * time.Second})
		_, _, err := inMemory(t.Context(), s, d, Options{})
		require.NoError(t, err)
		require.LessOrEqual(t, s.most, widthFirst)
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	d := newImage(t, small, 600).open()
	for _, most := range []int{1, 3, 100} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(small, trouble{latency: time.Second})
			_, _, err := inMemory(t.Context(), s, d, Options{Concurrency: most})
			require.NoError(t, err)
			require.LessOrEqual(t, s.most, most)
			require.GreaterOrEqual(t, s.most, min(most, 64), "it grows while throughput grows")
		})
	}
}

// With shared sums a block that the second region holds already is not even
// read: here it could not be.
func TestSumsAreShared(t *testing.T) {
	img := newImage(t, small, 100)
	s := newService(small, trouble{})
	parent := based(t, s, img)
	img.fill(7)
	sums := &Sums{}
	_, _, err := inMemory(t.Context(), s, img.open(), Options{Sums: sums})
	require.NoError(t, err)
	for index := range int64(100) {
		if index != 7 {
			img.write(index, []byte("changed behind its back"))
		}
	}
	snap, _, err := inMemory(t.Context(), s, img.open(), Options{Sums: sums, Parent: parent})
	require.NoError(t, err)
	require.EqualValues(t, 1, snap.SentBlocks)
}

func TestProgress(t *testing.T) {
	for want, p := range map[string]Progress{
		"0 B of 1.0 GiB done, 0 B/s":                                {Total: 1 << 30},
		"512.0 MiB of 1.0 GiB done, 128.0 MiB/s, 4s left":           {Done: 512 << 20, Total: 1 << 30, Rate: 128 << 20, Left: 4 * time.Second},
		"1.0 TiB of 1.5 TiB uploaded, done in 2h0m0s (145.6 MiB/s)": {Done: 3 << 39, Total: 3 << 39, Sent: 1 << 40, Elapsed: 2 * time.Hour},
		"0 B of 1.0 GiB uploaded, done in 0s (0 B/s)":               {Done: 1 << 30, Total: 1 << 30},
		"20.0 MiB of 1.0 GiB uploaded, done in 1.5s (13.3 MiB/s)":   {Done: 1 << 30, Total: 1 << 30, Sent: 20 << 20, Elapsed: 1500 * time.Millisecond},
		"512.0 MiB of 1.0 GiB done, 1.0 MiB/s, 8m32s left":          {Done: 512 << 20, Total: 1 << 30, Rate: 1 << 20, Left: 512 * time.Second},
	} {
		require.Equal(t, want, p.String())
	}
	begin := time.Now()
	m := &meter{begin: begin, last: begin}
	p := m.read(begin.Add(10*time.Second), 100, 1000, 50)
	require.Equal(t, Progress{Done: 100, Total: 1000, Sent: 50, Rate: 10, Elapsed: 10 * time.Second, Left: 90 * time.Second}, p)
	p = m.read(begin.Add(20*time.Second), 300, 1000, 50)
	require.EqualValues(t, 20, p.Rate)
	require.Equal(t, 50*time.Second, p.Left, "an average that follows: 14 a second")
}

func TestProgressIsReported(t *testing.T) {
	d := newImage(t, small, 400).open()
	synctest.Test(t, func(t *testing.T) {
		var all []Progress
		s := newService(small, trouble{bandwidth: 10 * small})
		_, _, err := inMemory(t.Context(), s, d, Options{Report: func(p Progress) { all = append(all, p) }})
		require.NoError(t, err)
		require.Len(t, all, 5)
		require.InDelta(t, 30, all[0].Left.Seconds(), 5)
		require.Equal(t, all[4].Total, all[4].Done)
	})
}
