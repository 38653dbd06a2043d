// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func state(t *testing.T, f fixture, id string) State {
	t.Helper()
	st, err := f.Status(id)
	require.NoError(t, err)
	return st.State
}

func TestStartStop(t *testing.T) {
	f := newFixture(t)
	s := f.spec(obedient)
	require.NoError(t, f.Start(t.Context(), s))
	st, err := f.Status(s.ID)
	require.NoError(t, err)
	require.Equal(t, StateRunning, st.State)
	require.NotZero(t, st.PID)
	ssh, err := os.ReadFile(filepath.Join(s.Dir, "ssh.json"))
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"host":"127.0.0.1","port":%d}`, st.SSHPort), string(ssh))
	require.ErrorContains(t, f.Start(t.Context(), s), "running already")
	require.ErrorContains(t, f.Forget(s.ID), "stop it before")

	require.NoError(t, f.Stop(t.Context(), s.ID, time.Minute))
	require.NoError(t, f.Stop(t.Context(), s.ID, time.Minute), "again")
	require.Equal(t, StateStopped, state(t, f, s.ID))
	console, err := f.Console(s.ID)
	require.NoError(t, err)
	require.Equal(t, "fake login: ", string(console))
	require.Len(t, f.events, 0)

	require.NoError(t, f.Start(t.Context(), s), "a stopped machine starts again")
	require.Equal(t, st.SSHPort, mustStatus(t, f, s.ID).SSHPort)
	require.NoError(t, f.Stop(t.Context(), s.ID, 5*time.Second))
	require.NoError(t, f.Forget(s.ID))
	_, err = f.Status(s.ID)
	require.ErrorIs(t, err, ErrUnknown)
}

func mustStatus(t *testing.T, f fixture, id string) Status {
	t.Helper()
	st, err := f.Status(id)
	require.NoError(t, err)
	return st
}

func TestStopByForceAfterBound(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Start(t.Context(), f.spec(stubborn)))
	began := time.Now()
	require.NoError(t, f.Stop(t.Context(), "i-stubborn", 200*time.Millisecond))
	require.Less(t, time.Since(began), 3*time.Second)
	require.Contains(t, mustStatus(t, f, "i-stubborn").Reason, "by force")
}

func TestPowerButtonIsPressedAgain(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Start(t.Context(), f.spec(sleepy)))
	require.NoError(t, f.Stop(t.Context(), "i-sleepy", 20*time.Second))
	require.Equal(t, "stopped by power button", mustStatus(t, f, "i-sleepy").Reason)
}

func TestEventsOfMachinesThatGoDown(t *testing.T) {
	f := newFixture(t)
	for kind, orderly := range map[string]bool{off: true, crash: false} {
		require.NoError(t, f.Start(t.Context(), f.spec(kind)))
		select {
		case e := <-f.events:
			require.Equal(t, "i-"+kind, e.ID)
			require.Equal(t, orderly, e.PoweredOff, e.Reason)
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
		require.Equal(t, StateStopped, state(t, f, "i-"+kind))
	}
}

func TestStartErrors(t *testing.T) {
	f := newFixture(t)
	err := f.Start(t.Context(), f.spec(broken))
	require.ErrorContains(t, err, "no such machine", "QEMU's own words are in the error")
	_, err = f.Status("i-broken")
	require.ErrorIs(t, err, ErrUnknown)

	s := f.spec(obedient)
	s.Disks = []Disk{{ID: "vol-1", Path: filepath.Join(f.dir, "absent.qcow2"), Base: filepath.Join(f.dir, "absent")}}
	require.ErrorContains(t, f.Start(t.Context(), s), "absent")
	s.Disks = nil
	require.ErrorContains(t, f.Start(t.Context(), s), "must be set")
	s = f.spec(obedient)
	s.Forwards = []Forward{{GuestAddr: "10.0.0.1", GuestPort: 443, HostAddr: "127.0.0.1:1"}}
	require.ErrorContains(t, f.Start(t.Context(), s), "not inside")
}

func TestTakenPortIsReplaced(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Start(t.Context(), f.spec(taken)))
	require.Len(t, f.calls(t, taken), 4, "two starts, two words each")
}

func TestReboot(t *testing.T) {
	f := newFixture(t)
	for kind, want := range map[string]string{obedient: "start system_powerdown start", stubborn: "start system_powerdown system_reset"} {
		f.opts.RebootBound = map[string]time.Duration{obedient: time.Minute, stubborn: 100 * time.Millisecond}[kind]
		require.NoError(t, f.Start(t.Context(), f.spec(kind)))
		port := mustStatus(t, f, "i-"+kind).SSHPort
		require.NoError(t, f.Reboot(t.Context(), "i-"+kind))
		calls := strings.Join(f.calls(t, kind), " ")
		calls = strings.ReplaceAll(calls, fmt.Sprintf(" 127.0.0.1:%d-:22", port), "")
		require.Equal(t, want, calls)
		require.Equal(t, StateRunning, state(t, f, "i-"+kind))
	}
	require.Empty(t, f.events)
	require.ErrorIs(t, f.Reboot(t.Context(), "i-none"), ErrUnknown)
}

func TestResetBootsAnew(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Start(t.Context(), f.spec(resets)))
	require.Eventually(t, func() bool {
		return strings.Count(strings.Join(f.calls(t, resets), " "), "start ") == 2 && state(t, f, "i-resets") == StateRunning
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, f.events, "the machine was running all the time")
	require.NoError(t, f.Stop(t.Context(), "i-resets", time.Minute))
	require.Equal(t, StateStopped, state(t, f, "i-resets"))
}

func TestStopTakesOverFromReboot(t *testing.T) {
	f := newFixture(t)
	f.opts.RebootBound = time.Minute
	require.NoError(t, f.Start(t.Context(), f.spec(stubborn)))
	reboot := make(chan error, 1)
	go func() { reboot <- f.Reboot(context.Background(), "i-stubborn") }()
	require.Eventually(t, func() bool { return strings.Contains(strings.Join(f.calls(t, stubborn), " "), "powerdown") }, 5*time.Second, 10*time.Millisecond)
	require.NoError(t, f.Stop(t.Context(), "i-stubborn", 100*time.Millisecond))
	require.ErrorIs(t, <-reboot, errStopped)
	require.Equal(t, StateStopped, state(t, f, "i-stubborn"))
}

func TestMetadataIsServedWhileRunning(t *testing.T) {
	f := newFixture(t)
	s := f.spec(obedient)
	require.NoError(t, f.Start(t.Context(), s))
	socket := filepath.Join(f.sockets, s.ID)
	require.Equal(t, "HTTP/1.1 401 Unauthorized", firstLine(t, socket))
	require.NoError(t, f.Stop(t.Context(), s.ID, time.Second))
	require.NoFileExists(t, socket)
	log, err := os.ReadFile(filepath.Join(s.Dir, "imds.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), " GET /latest/user-data 401\n")
}

func firstLine(t *testing.T, socket string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprint(conn, "GET /latest/user-data HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(buf[:n]), "\r\n")
	return strings.Replace(line, "HTTP/1.0", "HTTP/1.1", 1)
}

func TestClose(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Start(t.Context(), f.spec(obedient)))
	require.NoError(t, f.Start(t.Context(), f.spec(stubborn)))
	pid := mustStatus(t, f, "i-stubborn").PID
	require.NoError(t, f.Close())
	require.NoDirExists(t, fmt.Sprintf("/proc/%d", pid))
	require.NoDirExists(t, f.sockets)
	require.ErrorIs(t, f.Start(t.Context(), f.spec(off)), ErrClosed)
	require.ErrorIs(t, f.Stop(t.Context(), "i-stubborn", time.Second), ErrClosed)
	require.Empty(t, f.events, "closing is no surprise")
}

func TestDisksOfARunningMachine(t *testing.T) {
	f := newFixture(t)
	s := f.spec(obedient)
	extra := Disk{ID: "vol-extra", Path: filepath.Join(f.dir, "extra.qcow2"), Size: 1 << 30}
	require.NoError(t, f.Plug(t.Context(), s.ID, extra), "it does not run yet: its start names the disk")
	require.NoError(t, f.Start(t.Context(), s))
	require.NoError(t, f.Plug(t.Context(), s.ID, extra))
	require.NoError(t, f.Resize(t.Context(), s.ID, extra))
	worked := false
	require.NoError(t, f.Frozen(t.Context(), s.ID, func(context.Context) error { worked = true; return nil }))
	require.True(t, worked)
	require.NoError(t, f.Unplug(t.Context(), s.ID, extra))
	calls := strings.Join(f.calls(t, obedient)[2:], " ")
	require.Equal(t, "blockdev-add device_add block_resize stop cont device_del blockdev-del", calls)

	broken := errors.New("no room")
	require.ErrorIs(t, f.Frozen(t.Context(), s.ID, func(context.Context) error { return broken }), broken)
	require.NoError(t, f.Stop(t.Context(), s.ID, time.Minute))
	require.ErrorIs(t, f.Frozen(t.Context(), s.ID, func(context.Context) error { return broken }), broken, "one that is off stands still")
	require.Contains(t, strings.Join(f.calls(t, obedient)[2:], " "), "stop cont system_powerdown", "it goes on when the work fails")
	require.ErrorContains(t, f.Plug(t.Context(), s.ID, Disk{}), "must be set")
}

func TestAddressesFallBack(t *testing.T) {
	f := newFixture(t)
	s := f.spec(obedient)
	// Nobody can have port 22 of the first address, and the other port is taken.
	taken, err := net.Listen("tcp", "127.86.249.1:22")
	if err != nil {
		t.Skip("needs root: ", err)
	}
	defer func() { _ = taken.Close() }()
	s.Addresses, s.SSHPort = []string{"127.86.249.1"}, 2223
	require.NoError(t, f.Start(t.Context(), s))
	require.Equal(t, 2223, mustStatus(t, f, s.ID).AddressPort)
	other := f.spec(off)
	other.Addresses, other.SSHPort = []string{"192.0.2.1"}, 2223 // not an address of this host
	require.NoError(t, f.Start(t.Context(), other))
	require.Zero(t, mustStatus(t, f, other.ID).AddressPort)
	require.NotZero(t, mustStatus(t, f, other.ID).SSHPort)
}

func TestDiskIsMadeOnceAndGrows(t *testing.T) {
	f := newFixture(t)
	d := Disk{ID: "vol-1", Path: filepath.Join(f.dir, "d.qcow2"), Base: filepath.Join(f.dir, "snap.raw"), Size: 1 << 30}
	require.NoError(t, d.make(t.Context(), f.opts.QEMUImg))
	made, err := os.ReadFile(d.Path)
	require.NoError(t, err)
	require.Contains(t, string(made), "backing_file="+d.Base)
	require.Contains(t, string(made), " 1073741824")
	require.NoFileExists(t, d.Path+".part")
	require.NoError(t, d.make(t.Context(), f.opts.QEMUImg), "it is there, and the fake says that it is small")
	blank := Disk{ID: "vol-2", Path: filepath.Join(f.dir, "blank.qcow2")}
	require.ErrorContains(t, blank.make(t.Context(), f.opts.QEMUImg), "no size")
	args, err := diskArgs([]Disk{d, {ID: "vol-2", Path: `/tmp/it's, "odd"`}})
	require.NoError(t, err)
	require.Equal(t, `{"bootindex":0,"drive":"vol1","driver":"virtio-blk-pci","id":"dev-vol1","serial":"vol1","write-cache":"on"}`, args[3])
	require.Contains(t, args[5], `"filename":"/tmp/it's, \"odd\""`)
}
