// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGateFollowsTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(64)
		require.InDelta(t, 8, g.width, 0)
		for range 100 {
			g.widen()
		}
		require.InDelta(t, 64, g.width, 0, "grows to its bound, no further")
		time.Sleep(time.Minute)
		for range 64 {
			g.narrow()
		}
		require.InDelta(t, 32, g.width, 0, "objections at the same time count once")
		for range 32 {
			g.widen()
		}
		require.InDelta(t, 33, g.width, 0.1, "grows slowly after an objection")
		for range 20 {
			time.Sleep(2 * time.Second)
			g.narrow()
		}
		require.InDelta(t, 1, g.width, 0, "never closes")
	})
	require.InDelta(t, 3, newGate(3).width, 0)
}

func TestGateLetsGoOnCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ctx, try := newTries(ctx, time.Second, time.Hour, 0, 1)
		defer try.stop()
		require.NoError(t, try.gate.enter(ctx))
		failed := make(chan error)
		go func() { failed <- try.gate.enter(ctx) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
	})
}

func TestProgress(t *testing.T) {
	for want, p := range map[string]Progress{
		"0 B of 1.0 GiB uploaded, 0 B/s":                           {Total: 1 << 30},
		"512.0 MiB of 1.0 GiB uploaded, 128.0 MiB/s, 4s left":      {Done: 512 << 20, Total: 1 << 30, Rate: 128 << 20},
		"1.5 TiB of 1.5 TiB uploaded, 128.0 MiB/s, done in 3h0m0s": {Done: 3 << 39, Total: 3 << 39, Rate: 128 << 20, Elapsed: 3 * time.Hour},
	} {
		require.Equal(t, want, p.String())
	}
}
