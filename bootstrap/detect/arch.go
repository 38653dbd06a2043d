// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"encoding/binary"
	"io"
	"os"
	"runtime"
)

// arch is the architecture of the user land, read from the ELF header of a
// program that every system has: right in a chroot, on a mounted disk of
// another architecture, and for 32-bit systems under a 64-bit kernel.
func (t tree) arch() string {
	for _, name := range []string{"bin/sh", "usr/bin/dpkg", "bin/busybox", "sbin/init", "usr/lib/systemd/systemd"} {
		if a := elfArch(t.resolve(name)); a != "" {
			return a
		}
	}
	if t.live() {
		return runtime.GOARCH
	}
	return unknown
}

// What elf(5) says of the header. Package debug/elf has these numbers too, and a
// few decompressors that every boot would initialise.
const (
	elfMagic        = "\x7fELF"
	elfLittleEndian = 1
)

var elfMachines = map[uint16]string{3: "386", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}

const elfPPC64 = 21 // of both byte orders; Go and Linux run the little one today

// elfArch reads the first 20 bytes: magic, class, byte order, machine.
func elfArch(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	h := make([]byte, 20)
	if _, err := io.ReadFull(f, h); err != nil || string(h[:4]) != elfMagic {
		return ""
	}
	little, machine := h[5] == elfLittleEndian, binary.BigEndian.Uint16(h[18:])
	if little {
		machine = binary.LittleEndian.Uint16(h[18:])
	}
	if machine == elfPPC64 && little {
		return "ppc64le"
	}
	return elfMachines[machine]
}

// unameArch is uname's word for a Go architecture.
func unameArch(arch string) string {
	switch arch {
	case "amd64":
		return "x86_64"
	case "386":
		return "i386"
	case "arm64":
		return "aarch64"
	case "arm":
		return "armv7l"
	}
	return arch
}

// seedArch is the architecture in package names: dpkg's word on debian, uname's
// elsewhere.
func seedArch(base, arch string) string {
	if base != "debian" {
		return unameArch(arch)
	}
	switch arch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return arch
}

// agentArch is the word that the agent gives to scripts.
func agentArch(arch string) string {
	switch arch {
	case "amd64", "386", "arm64":
		return unameArch(arch)
	}
	return unknown
}
