// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests run in the time of synctest: what takes minutes is over at once,
// and nothing else on the machine disturbs what is measured.

func TestUploadsOf4096Blocks(t *testing.T) {
	d := newImage(t, small, 4096).open()
	for name, tc := range map[string]struct {
		trouble trouble
		ideal   time.Duration // 0: there is none to compare with
		within  float64
		most    int // requests
	}{
		"at the quota":                  {trouble{latency: 20 * time.Millisecond}, 4096 * time.Second / 1000, 1.15, 4096},
		"cap of 600 a second":           {trouble{perSecond: 600, latency: 20 * time.Millisecond}, 4096 * time.Second / 600, 1.15, 4900},
		"cap of 600 a second, far away": {trouble{perSecond: 600, latency: 80 * time.Millisecond}, 4096 * time.Second / 600, 1.15, 4900},
		"cap of 600 a second, near":     {trouble{perSecond: 600, latency: time.Millisecond}, 4096 * time.Second / 600, 1.15, 4900},
		"cap of 100 a second":           {trouble{perSecond: 100, latency: 20 * time.Millisecond}, 4096 * time.Second / 100, 1.15, 5500},
		"cap of 20 a second":            {trouble{perSecond: 20, latency: 20 * time.Millisecond}, 4096 * time.Second / 20, 1.25, 6000},
		"narrow line":                   {trouble{bandwidth: 50 * small, latency: 20 * time.Millisecond}, 4096 * time.Second / 50, 1.05, 4096},
		"very narrow line":              {trouble{bandwidth: small, latency: 20 * time.Millisecond}, 4096 * time.Second, 1.05, 4096},
		"10 % throttled":                {trouble{throttle: 0.1, latency: 20 * time.Millisecond}, 4096 * time.Second / 900, 1.5, 4800},
		"30 % throttled":                {trouble{throttle: 0.3, latency: 20 * time.Millisecond}, 0, 0, 8000},
		"2 % broken":                    {trouble{broken: 0.02, latency: 20 * time.Millisecond}, 4096 * time.Second / 1000, 1.3, 4300},
		"1 % reset, 1 % lost":           {trouble{reset: 0.01, lost: 0.01, latency: 20 * time.Millisecond}, 4096 * time.Second / 1000, 1.3, 4300},
		"hangs for a minute":            {trouble{hangAfter: 1000, hangFor: time.Minute, latency: 20 * time.Millisecond}, 4096*time.Second/1000 + time.Minute, 1.2, 4400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(small, tc.trouble)
				begin := time.Now()
				snap, _, err := inMemory(t.Context(), s, d, Options{})
				took := time.Since(begin)
				require.NoError(t, err)
				s.same(t, d, snap.ID)
				t.Logf("%v in all, %d requests, at most %d at a time", took, s.calls["PutSnapshotBlock"], s.most)
				if tc.ideal > 0 {
					require.LessOrEqual(t, took.Seconds(), tc.ideal.Seconds()*tc.within)
				}
				require.LessOrEqual(t, s.calls["PutSnapshotBlock"], tc.most)
				require.LessOrEqual(t, s.most, DefaultConcurrency)
			})
		})
	}
}
