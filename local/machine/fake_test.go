// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/relay"
)

// TestMain lets the test binary play other programs, by the name it is called:
// a QEMU that only speaks the control protocol, qemu-img, and the relay.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "fake-qemu":
		os.Exit(fakeQEMU(os.Args[1:]))
	case "fake-qemu-img":
		os.Exit(fakeImg(os.Args[1:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "test-relay" {
		if err := relay.Run(context.Background(), os.Args[2], os.Stdin, relay.Stdout{File: os.Stdout}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// How a fake guest behaves, told by the instance type.
const (
	obedient = "t3.micro"
	stubborn = "stubborn" // ignores the power button
	off      = "off"      // powers itself off
	crash    = "crash"    // QEMU dies
	broken   = "broken"   // QEMU does not start
	taken    = "taken"    // the port for ssh is taken, the first time
	sleepy   = "sleepy"   // the second press is the one that counts
	resets   = "resets"   // the guest resets the machine in its first boot
)

func fakeQEMU(args []string) int {
	line := strings.Join(args, " ")
	dir := filepath.Dir(after(line, "path="))
	log, err := os.OpenFile(filepath.Join(dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 9
	}
	kind := after(line, "product=")
	_, _ = fmt.Fprintf(log, "start %s\n", after(line, "hostfwd=tcp:"))
	_ = os.WriteFile(filepath.Join(dir, "console.log"), []byte("fake login: "), 0o600)
	if data, _ := os.ReadFile(log.Name()); kind == taken && strings.Count(string(data), "start") == 1 {
		fmt.Fprintln(os.Stderr, "Could not set up host forwarding rule")
		return 1
	}
	if kind == broken {
		fmt.Fprintln(os.Stderr, "no such machine")
		return 1
	}
	return control(kind, log)
}

// control answers commands until the guest is off.
func control(kind string, log *os.File) int {
	ctl := os.NewFile(controlFD, "control")
	_, _ = fmt.Fprintln(ctl, `{"QMP": {"version": {}}}`)
	presses := 0
	for lines := bufio.NewScanner(ctl); lines.Scan(); {
		command := after(lines.Text(), `{"execute":"`)
		_, _ = fmt.Fprintln(log, command)
		_, _ = fmt.Fprintln(ctl, `{"event": "NOISE"}`)
		_, _ = fmt.Fprintln(ctl, `{"return": {"status": "running"}}`)
		switch {
		case command == "system_powerdown":
			if presses++; kind != stubborn && (kind != sleepy || presses == 2) {
				return 0
			}
		case kind == off:
			return 0
		case kind == resets && firstBoot(log):
			_, _ = fmt.Fprintln(ctl, `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}`)
			return 0
		case kind == crash:
			return 3
		}
	}
	time.Sleep(time.Hour) // our parent is gone; only its death signal ends us
	return 0
}

func firstBoot(log *os.File) bool {
	data, _ := os.ReadFile(log.Name())
	return strings.Count(string(data), "start ") == 1
}

// after is what follows key in s, up to a character that ends a value.
func after(s, key string) string {
	_, rest, _ := strings.Cut(s, key)
	if i := strings.IndexAny(rest, `, "`); i >= 0 {
		return rest[:i]
	}
	return rest
}

func fakeImg(args []string) int {
	switch args[0] {
	case "create":
		if err := os.WriteFile(args[slices.Index(args, "-o")+2], []byte(strings.Join(args, " ")), 0o600); err != nil {
			return 1
		}
	case "info":
		fmt.Println(`{"virtual-size": 4096}`)
	}
	return 0
}

type fixture struct {
	*Manager
	dir    string
	events chan Event
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	for _, name := range []string{"fake-qemu", "fake-qemu-img"} {
		require.NoError(t, os.Symlink(self, filepath.Join(dir, name)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "snap.raw"), make([]byte, 4096), 0o600))
	f := fixture{dir: dir, events: make(chan Event, 10)}
	f.Manager = New(Options{
		QEMU: filepath.Join(dir, "fake-qemu"), QEMUImg: filepath.Join(dir, "fake-qemu-img"), Accel: accelTCG,
		Relay: []string{self, "test-relay"}, RebootBound: 300 * time.Millisecond, OnEvent: func(e Event) { f.events <- e },
	})
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func (f fixture) spec(kind string) Spec {
	return Spec{ID: "i-" + kind, Dir: filepath.Join(f.dir, "instances", "i-"+kind), Disks: []Disk{{ID: "vol-" + kind, Path: filepath.Join(f.dir, kind+".qcow2"), Base: filepath.Join(f.dir, "snap.raw")}},
		Region: "us-east-1", InstanceType: kind, UserData: []byte("hello")}
}

// calls is what the fake QEMU of a machine was told, without the negotiation.
func (f fixture) calls(t *testing.T, kind string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.spec(kind).Dir, "calls"))
	require.NoError(t, err)
	return slices.DeleteFunc(strings.Fields(string(data)), func(w string) bool { return w == "qmp_capabilities" })
}
