// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"debug/elf"
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
	if _, err := io.ReadFull(f, h); err != nil || string(h[:4]) != elf.ELFMAG {
		return ""
	}
	little := h[5] == byte(elf.ELFDATA2LSB)
	machine := elf.Machine(h[18]) | elf.Machine(h[19])<<8
	if !little {
		machine = elf.Machine(h[19]) | elf.Machine(h[18])<<8
	}
	switch {
	case machine == elf.EM_X86_64:
		return "amd64"
	case machine == elf.EM_386:
		return "386"
	case machine == elf.EM_AARCH64:
		return "arm64"
	case machine == elf.EM_ARM:
		return "arm"
	case machine == elf.EM_RISCV:
		return "riscv64"
	case machine == elf.EM_PPC64 && little:
		return "ppc64le"
	case machine == elf.EM_S390:
		return "s390x"
	}
	return ""
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
