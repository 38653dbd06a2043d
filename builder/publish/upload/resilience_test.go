// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// full reports whether there is time for the whole of it: 20 uploads of 4,096
// blocks of 512 KiB for each kind of trouble, and a service that hangs for a
// minute.
func full() bool { return os.Getenv("RIGHTIMAGE_E2E") == "full" }

// scenario is a kind of trouble; ideal is how long 4,096 blocks must take at
// least, where the wall time is part of what is asked for.
type scenario struct {
	trouble trouble
	ideal   time.Duration
}

func scenarios() map[string]scenario {
	hang := 2500 * time.Millisecond // longer than one try
	if full() {
		hang = time.Minute
	}
	return map[string]scenario{
		"10 % throttled":           {trouble: trouble{throttle: 0.1}},
		"600 requests a second":    {trouble: trouble{perSecond: 600}, ideal: 4096 * time.Second / 600},
		"2 % of 503":               {trouble: trouble{broken: 0.02}},
		"1 % of connections reset": {trouble: trouble{reset: 0.01}},
		"1 % of replies lost":      {trouble: trouble{lost: 0.01}},
		"all of it":                {trouble: trouble{throttle: 0.1, broken: 0.02, reset: 0.01, lost: 0.01}},
		"hangs " + hang.String():   {trouble: trouble{hangAfter: 300, hangFor: hang}},
	}
}

// Every upload succeeds over a real network connection, whatever the service
// does by its own rules. What takes long is in adapt_test.go, in its own time.
func TestUploadsSucceed(t *testing.T) {
	block, blocks, times, o := int64(small), int64(800), 1, Options{AttemptTimeout: 2 * time.Second}
	if full() {
		block, blocks, times, o = sparse.BlockSize, 4096, 20, Options{}
	}
	d := newImage(t, block, blocks).open()
	sums := sumsOf(t, d)
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			prepare := func(give trouble) (upload func() time.Duration) {
				s := newService(block, give)
				s.sum = comparing(d, sums)
				server := serve(t, s)
				api := client(t, server.URL)
				return func() time.Duration {
					defer server.Close()
					var own owner
					begin := time.Now()
					snap, err := Upload(t.Context(), d, own.target(s, api), o)
					took := time.Since(begin)
					if !assert.NoError(t, err) {
						return took
					}
					assert.Equal(t, sums, s.content(snap.ID))
					assert.Len(t, s.snaps, 1)
					assert.Empty(t, own.unknown)
					t.Logf("%6.2fs, %d requests, at most %d at a time", took.Seconds(), s.number("PutSnapshotBlock"), s.most)
					return took
				}
			}
			if sc.trouble.hangFor > 0 {
				var wg sync.WaitGroup // the hanging takes as long for all as for one
				for range times {
					upload := prepare(sc.trouble)
					wg.Go(func() { upload() })
				}
				wg.Wait()
				return
			}
			for range times {
				took := prepare(sc.trouble)()
				if sc.ideal > 0 && full() && took > sc.ideal*115/100 {
					// Perhaps this machine has no time for more at the moment.
					without := prepare(trouble{})()
					assert.Less(t, took, max(sc.ideal, without)*115/100, "ideal is %s; without trouble it takes %s", sc.ideal, without)
				}
			}
		})
	}
}

// comparing compares what comes in with the disk: cheaper than hashing, so that
// it is not the server that is measured. What differs has no sum.
func comparing(d *sparse.Disk, sums map[int64]sparse.Sum) func(int64, []byte) sparse.Sum {
	return func(index int64, data []byte) sparse.Sum {
		want := make([]byte, len(data))
		if d.Read(index, want) != nil || string(want) != string(data) {
			return sparse.Sum{}
		}
		return sums[index]
	}
}

// A cancelled upload ends at once and leaves neither goroutines nor files open,
// also when the service does not answer.
func TestCancelLeavesNothing(t *testing.T) {
	d := newImage(t, small, 500).open()
	s := newService(small, trouble{hangAfter: 200, hangFor: time.Hour, latency: 5 * time.Millisecond})
	server := serve(t, s)
	api := client(t, server.URL)
	journal := filepath.Join(t.TempDir(), "journal")
	before := census(t)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		var own owner
		begin := time.Now()
		_, err := Upload(ctx, d, own.target(s, api), Options{Journal: journal})
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, time.Since(begin), 2*time.Second)
		require.NoFileExists(t, journal)
	}
	server.Close() // ends the connections that are kept for later
	require.Eventually(t, func() bool { return census(t).within(before) }, 10*time.Second, 50*time.Millisecond,
		"before: %v, now: %v", before, census(t))
}

// counts is what a process holds.
type counts struct{ goroutines, files int }

// within allows for the goroutine of require.Eventually.
func (c counts) within(before counts) bool {
	return c.goroutines <= before.goroutines+1 && c.files <= before.files
}

func census(t *testing.T) counts {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not list open files")
	}
	files := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			files++
		}
	}
	return counts{goroutines: runtime.NumGoroutine(), files: files}
}
