// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A manager that is killed without warning leaves no QEMU behind.
func TestKilledManagerLeavesNothing(t *testing.T) {
	if os.Getenv("TEST_ORPHAN") != "" {
		f := newFixture(t)
		require.NoError(t, f.Start(t.Context(), f.spec(stubborn)))
		fmt.Printf("pid %d\ndir %s\n", mustStatus(t, f, "i-stubborn").PID, f.dir)
		time.Sleep(time.Minute)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestKilledManagerLeavesNothing$")
	cmd.Env = append(os.Environ(), "TEST_ORPHAN=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	for lines := bufio.NewScanner(out); lines.Scan() && pid == 0; {
		if text, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			_, err := fmt.Sscan(text, &pid)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, 0), "QEMU runs")
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, 10*time.Second, 20*time.Millisecond)
}

// gone reports a process that has ended; a zombie waits only for its parent.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
