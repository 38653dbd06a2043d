// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package supervise_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
)

func TestMain(m *testing.M) {
	// The test binary is its own monitor in the background.
	if root := os.Getenv("SUPERVISE_TEST_ROOT"); root != "" && os.Getenv(supervise.DetachedEnv) != "" {
		ctx, cancel := signalled()
		defer cancel()
		sink := supervise.NewSink(root, "test")
		err := supervise.Run(ctx, supervise.Options{
			Root: root, Argv: []string{"sh", "-c", os.Getenv("SUPERVISE_TEST_SCRIPT")},
			Log: slog.New(slog.NewTextHandler(sink, nil)), Output: sink, MinDelay: 10 * time.Millisecond, StopLimit: 5 * time.Second,
		})
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func options(root, script string) supervise.Options {
	return supervise.Options{
		Root: root, Argv: []string{"sh", "-c", script}, Log: slog.New(slog.DiscardHandler), Output: io.Discard,
		MinDelay: 5 * time.Millisecond, StopLimit: 300 * time.Millisecond,
	}
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

func TestRestartsUntilDone(t *testing.T) {
	root := t.TempDir()
	log := filepath.Join(root, "log")
	// Fails three times, then says that its work is over.
	err := supervise.Run(context.Background(), options(root, "echo x >>"+log+"; [ $(wc -l <"+log+") -gt 3 ]"))
	require.NoError(t, err)
	require.Equal(t, 4, lines(t, log))
	_, running, err := supervise.Status(root)
	require.NoError(t, err)
	require.False(t, running)
}

// TestLimits: a command that grows, or falls silent, is started again; one that
// never lives is given up.
func TestLimits(t *testing.T) {
	tests := map[string]struct {
		script string
		change func(*supervise.Options)
	}{
		"memory": {"exec sleep 60", func(o *supervise.Options) { o.Memory = 1 }},
		"silent": {"/bin/true; python3 -c 'import os,socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.sendto(b\"WATCHDOG=1\",os.environ[\"NOTIFY_SOCKET\"])'; exec sleep 60",
			func(o *supervise.Options) { o.Watchdog = 50 * time.Millisecond }},
		"crash": {"exit 1", func(*supervise.Options) {}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := os.MkdirTemp("", "s") // the path of a socket is short
			require.NoError(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(root) })
			log := filepath.Join(root, "log")
			o := options(root, "echo x >>"+log+"; "+tc.script)
			o.CheckEvery, o.Failures = 20*time.Millisecond, 3
			tc.change(&o)
			require.ErrorIs(t, supervise.Run(t.Context(), o), supervise.ErrGivenUp)
			require.Contains(t, []int{1, 2, 3}, lines(t, log), "one may be aborted before it has written")
		})
	}
}

// TestPlatformAway: not being able to enrol is no reason to give up.
func TestPlatformAway(t *testing.T) {
	o := options(t.TempDir(), "exit 0")
	o.Failures = 2
	calls := 0
	o.Before = func(context.Context) error {
		if calls++; calls < 6 {
			return errors.New("no route")
		}
		return nil
	}
	require.NoError(t, supervise.Run(t.Context(), o))
	require.Equal(t, 6, calls)
}

func TestBefore(t *testing.T) {
	o := options(t.TempDir(), "exit 0")
	calls := 0
	o.Before = func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not enrolled")
		}
		return supervise.ErrDone
	}
	require.NoError(t, supervise.Run(context.Background(), o))
	require.Equal(t, 3, calls)
}

func TestOnlyOne(t *testing.T) {
	root := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- supervise.Run(ctx, options(root, "exec sleep 60")) }()
	require.Eventually(t, func() bool { _, running, err := supervise.Status(root); return err == nil && running }, 5*time.Second, 5*time.Millisecond)
	require.ErrorIs(t, supervise.Run(ctx, options(root, "true")), supervise.ErrRunning)
	pid, _, err := supervise.Status(root)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)
	cancel()
	require.NoError(t, <-done)
}

func TestStopForwardsTerm(t *testing.T) {
	root := t.TempDir()
	mark := filepath.Join(root, "decommissioned")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- supervise.Run(ctx, options(root, "trap 'echo bye >"+mark+"; exit 0' TERM; touch "+mark+".ready; while :; do sleep 0.02; done"))
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(mark + ".ready"); return err == nil }, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, 1, lines(t, mark))
}

func TestStopLimit(t *testing.T) {
	root := t.TempDir()
	ready := filepath.Join(root, "ready")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- supervise.Run(ctx, options(root, "trap '' TERM; touch "+ready+"; while :; do sleep 0.02; done"))
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 10*time.Second, 5*time.Millisecond)
	cancel()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("an agent that ignores SIGTERM is not killed")
	}
}

// TestBackground walks start, status, stop with real processes.
func TestBackground(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	mark := filepath.Join(root, "mark")
	t.Setenv("SUPERVISE_TEST_ROOT", root)
	t.Setenv("SUPERVISE_TEST_SCRIPT", "echo hello from the agent; trap 'echo bye >"+mark+"; exit 0' TERM; touch "+mark+".ready; while :; do sleep 0.02; done")
	self, err := os.Executable()
	require.NoError(t, err)
	started, err := supervise.Start(ctx, root, []string{self})
	require.NoError(t, err)
	require.True(t, started)
	started, err = supervise.Start(ctx, root, []string{self})
	require.NoError(t, err)
	require.False(t, started, "a second start does nothing")
	require.Eventually(t, func() bool { _, err := os.Stat(mark + ".ready"); return err == nil }, 10*time.Second, 5*time.Millisecond)
	pid, running, err := supervise.Status(root)
	require.NoError(t, err)
	require.True(t, running)
	sid, err := syscall.Getpgid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, sid, "a session of its own")
	stopped, err := supervise.Stop(ctx, root)
	require.NoError(t, err)
	require.True(t, stopped)
	require.Equal(t, 1, lines(t, mark), "the agent has ended by itself before stop returns")
	stopped, err = supervise.Stop(ctx, root)
	require.NoError(t, err)
	require.False(t, stopped)
	log, err := os.ReadFile(supervise.LogPath(root))
	require.NoError(t, err)
	require.Contains(t, string(log), "hello from the agent")
}

// TestStartTellsTheEnd: a monitor that ends before it holds the pid file is not
// waited for.
func TestStartTellsTheEnd(t *testing.T) {
	root := t.TempDir()
	began := time.Now()
	_, err := supervise.Start(context.Background(), root, []string{"sh", "-c", "exit 3"})
	require.ErrorContains(t, err, "exit status 3")
	_, err = supervise.Start(context.Background(), root, []string{"true"})
	require.NoError(t, err, "nothing to supervise")
	require.Less(t, time.Since(began), 30*time.Second)
}

// TestMonitorKilled: when the monitor dies the agent is told to end.
func TestMonitorKilled(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	mark := filepath.Join(root, "mark")
	t.Setenv("SUPERVISE_TEST_ROOT", root)
	t.Setenv("SUPERVISE_TEST_SCRIPT", "trap 'echo bye >"+mark+"; exit 0' TERM; touch "+mark+".ready; while :; do sleep 0.02; done")
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = supervise.Start(ctx, root, []string{self})
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := os.Stat(mark + ".ready"); return err == nil }, 10*time.Second, 5*time.Millisecond)
	pid, _, err := supervise.Status(root)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return lines(t, mark) == 1 }, 10*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool { _, running, err := supervise.Status(root); return err == nil && !running }, 5*time.Second, 5*time.Millisecond)
}

func TestSinkIsBounded(t *testing.T) {
	root := t.TempDir()
	sink := supervise.NewSink(root, "x")
	var written atomic.Int64
	for range 50 {
		n, err := sink.Write([]byte(strings.Repeat("y", 99_999) + "\n"))
		require.NoError(t, err)
		written.Add(int64(n))
	}
	var total int64
	for _, name := range []string{supervise.LogPath(root), supervise.LogPath(root) + ".1"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		total += info.Size()
	}
	require.Less(t, total, int64(2<<20+1))
	require.Equal(t, int64(5_000_000), written.Load())
}
