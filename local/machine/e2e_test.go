// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bounds for a guest under software emulation on a busy host.
const (
	bootBound = 8 * time.Minute
	stopBound = 3 * time.Minute
)

// probeScript runs in the guest. It has only what a minimal Debian has: bash
// speaks HTTP by itself.
const probeScript = `#!/bin/bash
# The login on the console hangs up whoever has it open, so each line opens it anew.
say() { echo "PROBE $*" >/dev/console; }
ask() { # METHOD PATH HEADER...
	exec 3<>/dev/tcp/169.254.169.254/80
	printf '%s %s HTTP/1.0\r\n' "$1" "$2" >&3
	shift 2
	for h; do printf '%s\r\n' "$h" >&3; done
	printf '\r\n' >&3
	sed '1,/^\r$/d' <&3
	exec 3>&-
}
token=$(ask PUT /latest/api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60')
get() { ask GET "/latest/$1" "X-aws-ec2-metadata-token: $token"; }
say "boot $(cat /boots 2>/dev/null | wc -l)"
echo x >>/boots
say "user-data [$(get user-data)]"
say "id [$(get meta-data/instance-id)]"
say "v1 [$(ask GET /latest/user-data | grep -o '401 - [A-Za-z]*' | head -n 1)]"
say "vendor [$(cat /sys/class/dmi/id/sys_vendor)]"
exec 4<>/dev/tcp/169.254.169.253/443 && { echo hello >&4; read -r answer <&4; say "forward [$answer]"; exec 4>&-; }
if timeout 5 bash -c '</dev/tcp/169.254.169.2/PORT' 2>/dev/null; then say 'host [open]'; else say 'host [shut]'; fi
ssh-keygen -A >/dev/null; systemctl reset-failed ssh; systemctl restart ssh; say "ssh [$?]"
sync
say 'done'
while sleep 1; do say "disks$(for d in /sys/block/vd*; do echo -n " $(cat $d/serial):$(cat $d/size)"; done) end"; done
`

const probeUnit = `[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/probe.sh
[Install]
WantedBy=multi-user.target
`

// TestGuest boots the base disk for real. RIGHTIMAGE_BASE_DISK names one that
// example/base/build.sh made; without it, the test builds it first.
func TestGuest(t *testing.T) {
	if os.Getenv("RIGHTIMAGE_E2E") != "1" {
		t.Skip("boots a real machine: set RIGHTIMAGE_E2E=1")
	}
	dir := t.TempDir()
	echo := echoServer(t)
	_, hostPort, err := net.SplitHostPort(echo)
	require.NoError(t, err)
	disk := probeDisk(t, dir, strings.ReplaceAll(probeScript, "PORT", hostPort))
	self, err := os.Executable()
	require.NoError(t, err)
	// A path with what needs quoting, for shells and for QEMU's options.
	odd := filepath.Join(dir, "it's, odd")
	require.NoError(t, os.Mkdir(odd, 0o700))
	require.NoError(t, os.Symlink(self, filepath.Join(odd, "relay")))

	m := New(Options{Relay: []string{filepath.Join(odd, "relay"), "test-relay"}})
	defer func() { require.NoError(t, m.Close()) }()
	s := Spec{ID: "i-0e2e", Dir: filepath.Join(odd, "i-0e2e"), Disks: []Disk{{ID: "vol-0e2e", Path: filepath.Join(odd, "root, disk.qcow2"), Base: disk, Size: 3 << 30}}, Region: "us-east-1", InstanceType: "t3.micro",
		Addresses: []string{"127.86.250.1", "127.87.250.1"}, UserData: []byte("hello\nguest"), Forwards: []Forward{{"169.254.169.253", 443, echo}}}
	began := time.Now()
	require.NoError(t, m.Start(t.Context(), s))
	text := console(t, m, s.ID, "PROBE done")
	t.Logf("first boot until the probe is done: %s, accel %s", time.Since(began).Round(time.Second), mustStatusOf(t, m, s.ID).Accel)
	for _, want := range []string{"boot 0", "user-data [hello\nguest]", "id [i-0e2e]", "v1 [401 - Unauthorized]", "vendor [Amazon EC2]",
		"forward [HELLO]", "host [shut]", "ssh [0]"} {
		require.Contains(t, text, "PROBE "+want)
	}
	status := mustStatusOf(t, m, s.ID)
	require.Contains(t, []int{22, defaultSSHPort}, status.AddressPort)
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", status.SSHPort), fmt.Sprintf("127.86.250.1:%d", status.AddressPort), fmt.Sprintf("127.87.250.1:%d", status.AddressPort)} {
		require.Regexp(t, regexp.MustCompile(`^SSH-2\.0-`), banner(t, addr))
	}
	changeDisks(t, m, s, dir)

	began = time.Now()
	require.NoError(t, m.Reboot(t.Context(), s.ID))
	t.Logf("orderly shutdown for the reboot: %s", time.Since(began).Round(time.Second))
	console(t, m, s.ID, "PROBE boot 1", "PROBE done")

	began = time.Now()
	require.NoError(t, m.Stop(t.Context(), s.ID, stopBound))
	t.Logf("power button to power off: %s", time.Since(began).Round(time.Second))
	require.Equal(t, "stopped by power button", mustStatusOf(t, m, s.ID).Reason)
	log, err := os.ReadFile(filepath.Join(s.Dir, "imds.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "GET /latest/meta-data/instance-id 200\n")
	require.Equal(t, 2, strings.Count(string(log), "PUT /latest/api/token 200\n"))
}

// changeDisks plugs, enlarges and unplugs a disk of a running guest, which tells
// what it has, and copies the root disk while the guest stands still.
func changeDisks(t *testing.T, m *Manager, s Spec, dir string) {
	t.Helper()
	const root = "PROBE disks vol0e2e:6291456"
	console(t, m, s.ID, root+" end")
	extra := Disk{ID: "vol-extra", Path: filepath.Join(dir, "extra.qcow2"), Size: 1 << 30}
	require.NoError(t, m.Plug(t.Context(), s.ID, extra))
	console(t, m, s.ID, root+" volextra:2097152 end")
	extra.Size = 2 << 30
	require.NoError(t, m.Resize(t.Context(), s.ID, extra))
	console(t, m, s.ID, root+" volextra:4194304 end")

	raw := filepath.Join(dir, "copy.raw")
	require.NoError(t, os.WriteFile(raw, nil, 0o600))
	require.NoError(t, os.Truncate(raw, 3<<30))
	began := time.Now()
	require.NoError(t, m.Frozen(t.Context(), s.ID, func(ctx context.Context) error { return m.WriteRaw(ctx, s.Disks[0], raw) }))
	t.Logf("copy of the root disk of a running guest: %s", time.Since(began).Round(time.Millisecond))
	out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "cat /boots", raw+"?offset=2097152").Output()
	require.NoError(t, err)
	require.Equal(t, "x\n", string(out), "what the guest has written is in the copy")

	require.NoError(t, m.Unplug(t.Context(), s.ID, extra))
	console(t, m, s.ID, "volextra:4194304 end", root+" end")
}

func mustStatusOf(t *testing.T, m *Manager, id string) Status {
	t.Helper()
	st, err := m.Status(id)
	require.NoError(t, err)
	return st
}

// console waits for the marks to appear one after another.
func console(t *testing.T, m *Manager, id string, marks ...string) string {
	t.Helper()
	var text string
	for end := time.Now().Add(bootBound); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		data, err := m.Console(id)
		require.NoError(t, err)
		text = strings.ReplaceAll(string(data), "\r", "")
		rest, found := text, true
		for _, mark := range marks {
			var ok bool
			_, rest, ok = strings.Cut(rest, mark)
			found = found && ok
		}
		if found {
			return text
		}
		require.Equal(t, StateRunning, mustStatusOf(t, m, id).State, text)
	}
	t.Fatalf("%q not on the console after %s:\n%s", marks, bootBound, text)
	return ""
}

// probeDisk is a copy of the base disk with the probe in it, put there without
// mounting anything.
func probeDisk(t *testing.T, dir, script string) string {
	t.Helper()
	base := os.Getenv("RIGHTIMAGE_BASE_DISK")
	if base == "" {
		base = filepath.Join(dir, "base.raw")
		command(t, "", "bash", filepath.Join("..", "..", "example", "base", "build.sh"), base)
	}
	disk := filepath.Join(dir, "probe.raw")
	command(t, "", "cp", "--sparse=always", base, disk)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "probe.sh"), []byte(script), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "probe.service"), []byte(probeUnit), 0o600))
	command(t, fmt.Sprintf("write %[1]s/probe.sh /root/probe.sh\ncd /etc/systemd/system\nwrite %[1]s/probe.service probe.service\n"+
		"cd multi-user.target.wants\nsymlink probe.service ../probe.service\n", dir),
		"debugfs", "-w", "-f", "-", disk+"?offset=2097152")
	return disk
}

func command(t *testing.T, input, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// echoServer answers each line in capitals.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_, _ = conn.Write([]byte(strings.ToUpper(line)))
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func banner(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, time.Minute)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return line
}
