// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix && !linux

package machine

import (
	"os/exec"
	"syscall"
)

// dieWithParent only separates QEMU from our terminal: this system has no way
// to tie a child's life to ours. QEMU's control connection closes, no more.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func launch(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		close(p.done)
	}()
	return p, nil
}
