// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running QEMU with its control connection.
type process struct {
	pid  int
	ctl  *qmp
	done chan struct{} // closed when QEMU has ended and was waited for
	err  error         // why it ended; read after done
	told bool          // it is being ended on purpose; guarded by the instance
}

// controlFD is where a QEMU started by startProcess finds its control socket:
// the first descriptor after the standard three. A socket pair needs no path,
// and closes by itself when either side dies.
const controlFD = 3

// startTimeout bounds QEMU's own start, not the guest's.
const startTimeout = 30 * time.Second

// startProcess runs argv with its output going to logPath, and returns once the
// control connection answers.
func startProcess(ctx context.Context, argv []string, logPath string) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }()
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	defer func() { _ = log.Close() }()

	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // QEMU outlives the start; kill ends it
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = dieWithParent()
	p, err := launch(cmd)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	_ = theirs.Close() // else QEMU's end would not close the connection
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if p.ctl, err = newQMP(ctx, ours); err != nil {
		_ = ours.Close()
		p.kill()
		return nil, fmt.Errorf("start qemu: %w%s", err, tail(logPath))
	}
	return p, nil
}

// tail is the end of QEMU's own output as an addition to an error.
func tail(logPath string) string {
	data, err := os.ReadFile(logPath)
	if text := strings.TrimSpace(string(data)); err == nil && text != "" {
		return ": " + text[max(0, len(text)-1000):]
	}
	return ""
}

// kill ends QEMU and its relays, and waits until they are gone.
func (p *process) kill() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
}

// reason tells why the process ended.
func (p *process) reason() (text string, orderly bool) {
	if p.err == nil {
		return "the guest powered itself off", true
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return "qemu ended: " + exit.String(), false
	}
	return "qemu ended: " + p.err.Error(), false
}

func socketPair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock() // no other child may inherit the pair
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	conn, err := net.FileConn(ours)
	_ = ours.Close() // FileConn has its own copy
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	return conn, theirs, nil
}
