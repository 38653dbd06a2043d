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
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Files of an instance, in its Dir.
const (
	overlayFile = "overlay.qcow2"
	consoleFile = "console.log"
	qemuLogFile = "qemu.log"
	imdsLogFile = "imds.log"
	sshFile     = "ssh.json"
)

// consoleLimit is how much of the console is kept in an answer.
const consoleLimit = 1 << 20

// portTries is how often a port that somebody else took in the meantime is replaced.
const portTries = 5

// makeOverlay makes the instance's own disk over the snapshot, unless it is
// there already. It appears under its name only when complete.
func makeOverlay(ctx context.Context, qemuImg string, s Spec) error {
	overlay := filepath.Join(s.Dir, overlayFile)
	if _, err := os.Stat(overlay); err == nil {
		return nil
	}
	raw, err := os.Stat(s.RawDisk)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	part := overlay + ".part"
	args := []string{"create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on,backing_fmt=raw,backing_file=" + optValue(s.RawDisk), part}
	if s.DiskSize > raw.Size() {
		args = append(args, strconv.FormatInt(s.DiskSize, 10))
	}
	if _, err := (run.Exec{}).Run(ctx, qemuImg, args...); err != nil {
		_ = os.Remove(part)
		return err
	}
	return os.Rename(part, overlay)
}

// runQEMU starts QEMU with the wanted port for ssh, or a free one when that is
// 0 or taken.
func (i *instance) runQEMU(ctx context.Context, s Spec, port int) (*process, int, error) {
	w := wiring{
		accel: i.accel, relay: i.relay, imds: i.socket,
		overlay: filepath.Join(s.Dir, overlayFile), console: filepath.Join(s.Dir, consoleFile),
	}
	var err error
	for range portTries {
		if port == 0 {
			if port, err = freePort(ctx); err != nil {
				return nil, 0, err
			}
		}
		w.sshPort = port
		args, err := qemuArgs(s, w)
		if err != nil {
			return nil, 0, err
		}
		proc, err := startProcess(ctx, append([]string{i.m.opts.QEMU}, args...), filepath.Join(s.Dir, qemuLogFile))
		if err == nil {
			return proc, port, nil
		}
		if !strings.Contains(err.Error(), "host forwarding") {
			return nil, 0, err
		}
		port = 0 // taken since we looked
	}
	return nil, 0, errors.New("no free port on the loopback for ssh")
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
