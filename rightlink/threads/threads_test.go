// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package threads

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThreads(t *testing.T) {
	var all Threads
	var mu sync.Mutex
	var order []int
	gate, begun := make(chan struct{}), make(chan struct{})
	require.NoError(t, all.Add("", func() { close(begun); <-gate }))
	<-begun
	for n := range MaxQueued {
		require.NoError(t, all.Add(Default, func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, n)
		}))
	}
	other := make(chan struct{})
	require.NoError(t, all.Add("other_1", func() { close(other) }))
	select {
	case <-other: // although the default thread is busy
	case <-time.After(10 * time.Second):
		t.Fatal("threads wait for each other")
	}
	for _, bad := range []string{"Upper", "1a", "a-b", "a b", "é"} {
		require.ErrorContains(t, all.Add(bad, func() {}), "lower-case")
	}
	close(gate)
	all.Wait()
	require.Len(t, order, MaxQueued)
	require.IsIncreasing(t, order)

	// Limits.
	gate = make(chan struct{})
	for n := range MaxThreads {
		require.NoError(t, all.Add("t"+string(rune('a'+n/26))+string(rune('a'+n%26)), func() { <-gate }))
	}
	require.ErrorContains(t, all.Add("more", func() {}), "threads run already")
	time.Sleep(20 * time.Millisecond) // the first piece has begun
	for range MaxQueued {
		require.NoError(t, all.Add("taa", func() {}))
	}
	require.ErrorContains(t, all.Add("taa", func() {}), "wait already")
	close(gate)
	all.Wait()
}
