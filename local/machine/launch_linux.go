// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"os/exec"
	"runtime"
	"syscall"
)

// dieWithParent puts QEMU in a process group of its own, so that a Ctrl-C at the
// terminal reaches only us, and makes the kernel kill it should we be killed
// without a chance to do so.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// launch starts the command and waits for it in the background. "Parent" means
// the starting thread to the kernel, so that thread is kept until QEMU has ended.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		// Relays of open connections belong to the group too.
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		close(p.done)
	}()
	return p, <-started
}
