// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package disk

import (
	"os/exec"
	"syscall"
)

// killGroup makes a cancelled context end the command with its children. Behind
// sudo they belong to root and survive; unmounting ends those.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
