// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestDemoInterrupted presses Ctrl-C in each step of the demo: the signal goes
// to the foreground process group, as a terminal would send it. Nothing may stay
// running, mounted or attached, and no file may stay in the temporary folder.
func TestDemoInterrupted(t *testing.T) {
	s := machineRoom(t)
	needFull(t)
	for name, tc := range map[string]struct {
		line  string // the output after which to interrupt
		after time.Duration
		fresh bool // with an empty cache, so that the base disk is built
	}{
		"base disk":           {"base disk: building", 5 * time.Second, true},
		"base disk, late":     {"base disk: building", 40 * time.Second, true},
		"servers start":       {"platform: https", 0, false},
		"packer starts":       {"== packer build", 500 * time.Millisecond, false},
		"packer copies":       {"== packer build", 3 * time.Second, false},
		"packer provisions":   {"== packer build", 8 * time.Second, false},
		"packer publishes":    {"== packer build", 16 * time.Second, false},
		"servers are created": {"== servers on the platform", 100 * time.Millisecond, false},
		"instances boot":      {"boots for \"web-1\"", 10 * time.Second, false},
		"instances enrol":     {"is booting", time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(testContext(t), 10*time.Minute)
			defer cancel()
			tmp := t.TempDir()
			cache := s.Cache
			if tc.fresh {
				cache = t.TempDir()
				require.NoError(t, os.Symlink(filepath.Join(s.Cache, "bin"), filepath.Join(cache, "bin")))
			}
			interruptDemo(ctx, t, s, tmp, cache, tc.line, tc.after)
			requireNothingLeft(t, tmp)
			if tc.fresh {
				disks, err := filepath.Glob(filepath.Join(cache, "base-*"))
				require.NoError(t, err)
				require.Empty(t, disks, "a half built base disk")
			}
		})
	}
}

func interruptDemo(ctx context.Context, t *testing.T, s *chain.Story, tmp, cache, line string, after time.Duration) {
	t.Helper()
	demo := filepath.Join(tmp, "demo")
	build := exec.CommandContext(ctx, "go", "build", "-o", demo, "./test/demo")
	build.Dir = s.Repo
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	cmd := exec.Command(demo)
	cmd.Dir = s.Repo
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "RIGHTIMAGE_CACHE="+cache)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	seen := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.Contains(lines.Text(), line) {
				select {
				case seen <- true:
				default:
				}
			}
		}
		close(seen)
	}()
	select {
	case ok := <-seen:
		require.True(t, ok, "the demo ended before it said %q", line)
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		t.Fatalf("the demo did not say %q", line)
	}
	time.Sleep(after)
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	begin := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Logf("ended %.1f s after Ctrl-C: %v", time.Since(begin).Seconds(), err)
	case <-time.After(3 * time.Minute):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		t.Fatal("the demo does not end after Ctrl-C")
	}
	require.NoError(t, os.Remove(demo))
}

// requireNothingLeft looks for processes, mounts, loop devices and files that
// have to do with a folder.
func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.False(t, strings.Contains(string(mounts), dir), "a mount is left below %s", dir)
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil {
			require.False(t, strings.Contains(string(file), dir), "loop device %s is left", l)
		}
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range environs {
		env, _ := os.ReadFile(file) // the process may just have ended
		argv, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		require.False(t, strings.Contains(string(env)+string(argv), dir), "process left: %s", strings.ReplaceAll(string(argv), "\x00", " "))
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "files are left")
}
