// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
)

func many(n int) map[int64]byte {
	blocks := map[int64]byte{}
	for i := range n {
		blocks[int64(i)] = byte(i%255) + 1
	}
	return blocks
}

// each error is answered as its class says.
func TestUploadRetries(t *testing.T) {
	path := diskOf(t, 64<<20, many(20))
	for name, tc := range map[string]struct {
		err   error
		times int // the first so many PutSnapshotBlock fail
		ok    bool
	}{
		"throttled":           {&ebstypes.RequestThrottledException{}, 50, true},
		"service broken":      {&ebstypes.InternalServerException{}, 20, true},
		"reply lost":          {io.ErrUnexpectedEOF, 20, true},
		"snapshot not yet":    {&ebstypes.ResourceNotFoundException{}, 100, true},
		"snapshot never":      {&ebstypes.ResourceNotFoundException{}, 1 << 30, false},
		"denied":              {&ebstypes.AccessDeniedException{}, 1, false},
		"quota":               {&ebstypes.ServiceQuotaExceededException{}, 1, false},
		"wrong request":       {&ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidBlock}, 1, false},
		"throttled for good":  {&ebstypes.RequestThrottledException{}, 1 << 30, false},
		"no answer, for good": {context.DeadlineExceeded, 1 << 30, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.fail = func(a string, n int) error {
					if a == "PutSnapshotBlock" && n < tc.times {
						return tc.err
					}
					return nil
				}
				start := time.Now()
				_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
				if tc.ok {
					require.NoError(t, err)
					require.Len(t, f.blocks, 20)
					return
				}
				require.ErrorIs(t, err, tc.err)
				require.ErrorContains(t, err, "snap-1")
				if tc.times == 1 {
					require.Zero(t, time.Since(start), "not worth a second try")
				}
				require.LessOrEqual(t, time.Since(start), defaultUploadTimeout+time.Second)
				nothingLeft(t, f)
			})
		})
	}
}

func TestSnapshotThatNeverExistsIsGivenUpAfterTheWindow(t *testing.T) {
	path := diskOf(t, 64<<20, many(4))
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fail = func(a string, _ int) error {
			if a == "PutSnapshotBlock" {
				return &ebstypes.ResourceNotFoundException{}
			}
			return nil
		}
		start := time.Now()
		_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
		require.Error(t, err)
		require.InDelta(t, notYetWindow.Seconds(), time.Since(start).Seconds(), 10)
	})
}

func TestUploadStalls(t *testing.T) {
	path := diskOf(t, 64<<20, many(20))
	for name, setup := range map[string]func(f *fake){
		"calls hang": func(f *fake) { f.slow = time.Hour },
		"calls fail": func(f *fake) {
			f.fail = func(a string, n int) error {
				if a == "PutSnapshotBlock" && n > 5 {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				p := publisherOf(t, Config{UploadTimeout: 90 * time.Second, UploadAttemptTimeout: 10 * time.Second, UndoTimeout: 10 * time.Second}, f)
				setup(f)
				start := time.Now()
				p.openResume(path)
				err := p.uploadAll(t.Context(), newBuild(), openDisk(t, path))
				var stalled *upload.StalledError
				require.ErrorAs(t, err, &stalled)
				require.ErrorContains(t, err, "upload_timeout")
				require.InDelta(t, 90, time.Since(start).Seconds(), 1)
			})
		})
	}
}

func TestGateBoundsCalls(t *testing.T) {
	path := diskOf(t, 256<<20, many(300))
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.slow = 20 * time.Second // near the deadline: the line is full
		start := time.Now()
		_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
		require.NoError(t, err)
		require.Greater(t, time.Since(start), 300/8*20*time.Second, "not more at a time than at the start")
	})
}

func TestProgressLines(t *testing.T) {
	path := diskOf(t, 256<<20, many(100))
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.slow = 5 * time.Second
		p := publisherOf(t, Config{}, f)
		_, err := p.Disk(t.Context(), path)
		require.NoError(t, err)
		lines := p.ui.(*recorder).lines
		require.Contains(t, lines[2], "MiB done") // behind the search for secrets, and the start
		require.Contains(t, lines[2], "left")
		require.Contains(t, lines[len(lines)-3], "done in")
	})
}
