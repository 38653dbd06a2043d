// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// initSystem says which init system starts hooks at the next boot, and if it
// runs now. On a running machine the process 1 decides; elsewhere /sbin/init.
func (t tree) initSystem(chroot bool) (kind Init, running bool) {
	live := t.live() && !chroot
	if live && t.exists("run/systemd/system") { // what sd_booted(3) tests
		return Systemd, true
	}
	kind = t.installedInit()
	running = live && kind != InitNone && kind != Systemd && strings.HasPrefix(t.line("proc/1/comm"), "init")
	return kind, running
}

// installedInit judges by files. A Debian with sysvinit-core may keep the files
// of systemd, so what /sbin/init is goes before what is lying around.
func (t tree) installedInit() Init {
	target := ""
	if p := t.resolve("sbin/init"); p != "" {
		target = path.Base(filepath.ToSlash(p))
	}
	systemd := t.exists("lib/systemd/systemd") || t.exists("usr/lib/systemd/systemd")
	switch {
	case target == "systemd":
		return Systemd
	case target == "upstart", target != "" && t.exists("sbin/initctl") && t.exists("etc/init"):
		return Upstart
	case target == "" && systemd: // minimal images boot it by name
		return Systemd
	case target == "":
		return InitNone
	case t.exists("etc/runlevels") && (t.exists("sbin/openrc") || t.exists("sbin/rc")):
		return OpenRC
	case t.exists("etc/init.d") || t.exists("etc/rc.d/init.d"):
		return SysV
	case systemd:
		return Systemd
	}
	return InitNone
}

// chroot compares our root with that of process 1. Without /proc it says yes:
// a booted system has one.
func (t tree) chroot() bool {
	if !t.live() {
		return false
	}
	var own, first unix.Stat_t
	if unix.Stat("/", &own) != nil {
		return false
	}
	if err := unix.Stat("/proc/1/root/.", &first); err != nil {
		_, procErr := os.Stat("/proc/self")
		return procErr != nil // else we may only lack the right to look
	}
	return own.Dev != first.Dev || own.Ino != first.Ino
}

// container names the container manager, in systemd's words.
func (t tree) container() string {
	if name := t.line("run/systemd/container"); name != "" {
		return name
	}
	for kv := range bytes.SplitSeq([]byte(t.text("proc/1/environ")), []byte{0}) {
		if name, ok := strings.CutPrefix(string(kv), "container="); ok && name != "" {
			return name
		}
	}
	switch {
	case t.exists("run/.containerenv"):
		return "podman"
	case t.exists(".dockerenv"):
		return "docker"
	case t.exists("proc/vz") && !t.exists("proc/bc"):
		return "openvz"
	case strings.Contains(t.line("proc/sys/kernel/osrelease"), "Microsoft"):
		return "wsl"
	}
	return ""
}
