// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKill kills each stage at every command and at every metadata request, and
// runs it again: the machine ends up the same as without the kill.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	imds := newMetadata(t, query)
	stages := []string{"key", "rightimage", "rightlink"}
	calm := newRoot(t)
	for _, s := range stages {
		do(t, calm, s)
	}
	want := tree(t, calm)
	for i, stage := range stages {
		for _, kind := range []string{"command", "request"} {
			for n := 1; ; n++ {
				root := newRoot(t)
				for _, before := range stages[:i] {
					do(t, root, before)
				}
				var killed bool
				if kind == "command" {
					killed = killAtCommand(root, stage, n)
				} else {
					killed = killAtRequest(t, imds, root, stage, n)
				}
				for _, s := range stages[i:] {
					do(t, root, s)
				}
				require.Equal(t, want, tree(t, root), "%s killed at %s %d", stage, kind, n)
				if !killed {
					break
				}
				require.Less(t, n, 100)
			}
		}
	}
}

func stageProcess(root, stage string, kill int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BOOTSTRAP_TEST_ROOT="+root, "BOOTSTRAP_TEST_STAGE="+stage, "BOOTSTRAP_TEST_KILL="+strconv.Itoa(kill))
	return cmd
}

// killAtCommand says if the stage was killed, or ended before command n.
func killAtCommand(root, stage string, n int) bool { return stageProcess(root, stage, n).Run() != nil }

func killAtRequest(t *testing.T, imds *metadata, root, stage string, n int) bool {
	t.Helper()
	cmd := stageProcess(root, stage, 0)
	started := make(chan struct{})
	imds.reset(func(request int) {
		if request == n {
			<-started
			_ = cmd.Process.Kill()
		}
	})
	require.NoError(t, cmd.Start())
	close(started)
	err := cmd.Wait()
	imds.reset(nil)
	return err != nil
}
