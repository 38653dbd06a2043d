// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package faults runs the programs of an image as processes, stage after stage
// as a boot does, against services of which one misbehaves. Whatever it does, a
// stage ends within its documented bound, the login key is in place, and the
// status file tells what happened. With root all of it happens in a network of
// its own, without a name service.
package faults

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What the process that tests finds in its environment.
const (
	programsEnv = "RIGHTIMAGE_FAULTS_PROGRAMS" // the folder with the programs
	networkEnv  = "RIGHTIMAGE_FAULTS_NETWORK"  // set in a network of its own
)

// programs is the folder with bootstrap and rightlink, as images get them.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	_ = flag.Set("test.parallel", "16") // they wait more than they work
	code, err := around(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = 1
	}
	os.Exit(code)
}

// around builds the programs and runs the tests, with root in a process that has
// a network and mounts of its own.
func around(m *testing.M) (code int, err error) {
	if programs = os.Getenv(programsEnv); programs != "" {
		if err := network(); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}
	if programs, err = os.MkdirTemp("", "rightimage-faults-"); err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	if err := buildPrograms(programs); err != nil {
		return 1, err
	}
	if os.Geteuid() != 0 {
		return m.Run(), nil
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), programsEnv+"="+programs, networkEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func buildPrograms(dir string) error {
	for _, name := range []string{"bootstrap", "rightlink"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "../../cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// letGo unmounts, for this process alone, the disks that other tests work on: a
// copy of their mounts would keep them busy.
func letGo() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[0], "/dev/loop") {
			if err := unix.Unmount(fields[1], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", fields[1], err)
			}
		}
	}
	return nil
}

// network makes the new network usable, and its name server one that hears and
// never answers.
func network() error {
	if os.Getenv(networkEnv) == "" {
		return nil
	}
	for _, line := range []string{
		"link set lo up", // the stages want an address that is not loopback's
		"link add faults0 type veth peer name faults1", "addr add 10.255.255.1/24 dev faults0", "link set faults1 up", "link set faults0 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	if _, err := net.ListenPacket("udp", "127.0.0.53:53"); err != nil {
		return err
	}
	resolver := filepath.Join(programs, "resolv.conf")
	if err := os.WriteFile(resolver, []byte("nameserver 127.0.0.53\n"), 0o600); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := letGo(); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	return unix.Mount(resolver, target, "", unix.MS_BIND, "")
}
