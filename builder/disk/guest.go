// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// guestInfo is what a root file system says about itself.
type guestInfo struct {
	ID      string // "debian"
	Version string // "12"
	Name    string // "Debian GNU/Linux 12 (bookworm)"
	Arch    string // as EC2 names it: "x86_64", "arm64"; empty when unknown
}

// String describes the guest for people.
func (g guestInfo) String() string {
	name := g.Name
	if name == "" {
		name = "an unnamed system"
	}
	if g.Arch != "" {
		name += ", " + g.Arch
	}
	return name
}

// errNoSystem says that a file system is no root.
var errNoSystem = errors.New("no system on it")

// readGuest reads a mounted root. It never leaves the mount: links that lead
// outside are not followed.
func readGuest(dir string) (guestInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return guestInfo{}, err
	}
	defer root.Close() //nolint:errcheck // only read
	var g guestInfo
	release, err := openFirst(root, "etc/os-release", "usr/lib/os-release")
	if err != nil {
		return g, fmt.Errorf("%w: neither /etc/os-release nor /usr/lib/os-release", errNoSystem)
	}
	defer release.Close() //nolint:errcheck // only read
	g.readRelease(io.LimitReader(release, 64<<10))
	if !hasInit(root) {
		return g, fmt.Errorf("%w: %s without /sbin/init or /bin/sh", errNoSystem, g)
	}
	g.Arch = arch(root)
	return g, nil
}

// hasInit looks for names only: /sbin/init is often an absolute link, which
// means something else outside of the chroot.
func hasInit(root *os.Root) bool {
	return exists(root, "sbin/init", "usr/sbin/init", "lib/systemd/systemd", "usr/lib/systemd/systemd", "bin/init", "init") &&
		exists(root, "bin/sh", "usr/bin/sh")
}

func exists(root *os.Root, names ...string) bool {
	for _, name := range names {
		if _, err := root.Lstat(name); err == nil {
			return true
		}
	}
	return false
}

func openFirst(root *os.Root, names ...string) (*os.File, error) {
	var first error
	for _, name := range names {
		f, err := root.Open(name)
		if err == nil {
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (g *guestInfo) readRelease(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok {
			continue
		}
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			g.ID = value
		case "VERSION_ID":
			g.Version = value
		case "PRETTY_NAME":
			g.Name = value
		}
	}
}

// arch reads the machine type of a program that every system has.
func arch(root *os.Root) string {
	f, err := openFirst(root, "usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/bin/dash", "bin/dash",
		"usr/bin/bash", "bin/bash", "bin/busybox", "usr/bin/busybox", "bin/sh", "usr/bin/sh")
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	program, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	switch program.Machine {
	case elf.EM_X86_64:
		return "x86_64"
	case elf.EM_AARCH64:
		return "arm64"
	default:
		return ""
	}
}
