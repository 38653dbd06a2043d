// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Files of an instance, in its Dir.
const (
	consoleFile = "console.log"
	qemuLogFile = "qemu.log"
	imdsLogFile = "imds.log"
	sshFile     = "ssh.json"
)

// consoleLimit is how much of the console is kept in an answer.
const consoleLimit = 1 << 20

// defaultSSHPort is where the Addresses lead to ssh when their port 22 cannot be
// had: the program does not run as root, or a server listens on all addresses.
const defaultSSHPort = 2222

// portTries is how often a port that somebody else took in the meantime is replaced.
const portTries = 5

// runQEMU starts QEMU with the wanted ports for ssh, or others where those are
// 0 or taken.
func (i *instance) runQEMU(ctx context.Context, s Spec, w wiring) (*process, wiring, error) {
	w.console = filepath.Join(s.Dir, consoleFile)
	var err error
	for range portTries {
		if w.sshPort == 0 {
			if w.sshPort, err = freePort(ctx); err != nil {
				return nil, w, err
			}
		}
		w.addrPort = addressPort(ctx, s, w.addrPort)
		args, err := qemuArgs(s, w)
		if err != nil {
			return nil, w, err
		}
		proc, err := startProcess(ctx, append([]string{i.m.opts.QEMU}, args...), filepath.Join(s.Dir, qemuLogFile))
		if err == nil {
			if w.addrPort == 0 && len(s.Addresses) > 0 {
				i.m.opts.Log.Warn("ssh of the machine has its loopback port only: its addresses cannot be bound",
					"id", s.ID, "addresses", s.Addresses, "tried", []int{22, s.SSHPort}, "ssh_port", w.sshPort)
			}
			return proc, w, nil
		}
		if !strings.Contains(err.Error(), "host forwarding") {
			return nil, w, err
		}
		w.sshPort = 0 // taken since we looked
	}
	return nil, w, errors.New("no free port on the loopback for ssh")
}

// addressPort returns a port that is free at all Addresses: the one of the last
// boot, 22, the other one of the Spec, or 0 when there is none.
func addressPort(ctx context.Context, s Spec, last int) int {
	for _, port := range []int{last, 22, s.SSHPort} {
		if port > 0 && len(s.Addresses) > 0 && !slices.ContainsFunc(s.Addresses, func(addr string) bool { return !canListen(ctx, addr, port) }) {
			return port
		}
	}
	return 0
}

func canListen(ctx context.Context, addr string, port int) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(sshHost, "0"))
	if err != nil {
		return 0, fmt.Errorf("port for ssh: %w", err)
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("port for ssh: odd address %s", l.Addr())
	}
	return addr.Port, nil
}

// writeSSH tells where the guest's port 22 is on this host.
func writeSSH(dir string, port int) error {
	data, err := json.Marshal(struct {
		Host string `json:"host"`
		Port int    `json:"port"`
	}{sshHost, port})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, sshFile), append(data, '\n'), 0o644)
}

func (i *instance) console() ([]byte, error) {
	i.mu.Lock()
	path := filepath.Join(i.spec.Dir, consoleFile)
	i.mu.Unlock()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has not said a word yet
	}
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	start := max(0, info.Size()-consoleLimit)
	return io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
}
