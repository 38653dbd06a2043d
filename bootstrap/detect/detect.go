// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package detect finds out what a machine is from the files below a root
// directory: distribution, version, architecture, init system, virtualisation
// and cloud. It starts no command and needs no network, so it gives the same
// answer in a chroot, on a mounted disk and on the running machine.
package detect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
)

// ErrUnknownOS means that no rule matched; Facts still carries what was found.
var ErrUnknownOS = errors.New("unknown operating system")

// Facts is what is known about a machine. Names with the prefix Agent and Seed
// keep the two vocabularies of the original system apart: the seed script's
// RS_DISTRO/RS_ARCH and the ones that the agent gives to scripts.
type Facts struct {
	// Seed is the vocabulary of the seed script (package names).
	Seed Seed `json:"seed"`
	// Agent is the vocabulary of the agent (script environment).
	Agent Agent `json:"agent"`

	// ID is os-release's ID or the nearest equivalent: debian, ubuntu, rhel,
	// centos, rocky, amzn, fedora, sles, opensuse-leap, alpine, …
	ID string `json:"id"`
	// IDLike is os-release's ID_LIKE.
	IDLike []string `json:"id_like,omitempty"`
	// Version is the version with the point release where a file tells it: 12.8, 22.04, 9.4.
	Version string `json:"version"`
	// Codename is bookworm, jammy, …; empty when the distribution has none.
	Codename string `json:"codename,omitempty"`
	// PrettyName is for people.
	PrettyName string `json:"pretty_name,omitempty"`

	// Arch is Go's and Debian's name: amd64, arm64, 386, …; our packages use it.
	Arch string `json:"arch"`
	// Init is the init system that will start hooks.
	Init Init `json:"init"`
	// InitRunning says that Init is PID 1 now: false in a chroot or container
	// build, where services can be enabled but not started.
	InitRunning bool `json:"init_running"`
	// Container is docker, lxc, systemd-nspawn, …; empty outside containers.
	Container string `json:"container,omitempty"`
	// Chroot says that this process runs in a chroot (only for root "/").
	Chroot bool `json:"chroot"`
	// Virt is kvm, xen, amazon, vmware, microsoft, qemu, …, or none.
	Virt string `json:"virt"`

	// Cloud is the word of /etc/rightscale.d/cloud (unless that is auto), else what
	// firmware, files and disks hint at, else none.
	Cloud string `json:"cloud"`
	// CloudSource says which of them: file, dmi or default.
	CloudSource string `json:"cloud_source"`
}

// Seed holds the variables of the original seed script.
type Seed struct {
	Distro    string `json:"distro"`     // RS_DISTRO: ubuntu, debian, centos, fedora, rhel, oel, suse, … or unknown
	BaseOS    string `json:"base_os"`    // RS_BASE_OS: debian, redhat, suse, or (new) alpine, arch, gentoo; else unknown
	OSVersion string `json:"os_version"` // RS_OS_VERSION: 12, 22.04, 9.4
	Suffix    string `json:"suffix"`     // deb, rpm, or tar.gz where neither fits
	Arch      string `json:"arch"`       // RS_ARCH: amd64, i386, arm64 on debian; x86_64, i386, aarch64 elsewhere
}

// Agent holds the variables that the agent gives to scripts.
type Agent struct {
	Distro string `json:"distro"` // RS_DISTRO = RS_DIST: lsb_release -is in lower case, unmapped
	Arch   string `json:"arch"`   // RS_ARCH: i386, x86_64, and in addition to the original aarch64; else unknown
}

// Init is an init system.
type Init string

// The init systems that hooks know.
const (
	Systemd  Init = "systemd"
	SysV     Init = "sysvinit"
	Upstart  Init = "upstart"
	OpenRC   Init = "openrc"
	InitNone Init = "none"
)

// Detect reads the files below root ("/" on the machine itself). When no rule
// knows the system it returns the facts it has together with ErrUnknownOS.
func Detect(root string) (Facts, error) {
	t := newTree(root)
	r := readRelease(t)
	f := Facts{
		ID: r.id, IDLike: r.idLike, Version: r.version, Codename: r.codename, PrettyName: r.pretty,
		Arch:      t.arch(),
		Container: t.container(),
		Chroot:    t.chroot(),
	}
	f.Seed, f.Agent = vocabularies(r, f.Arch)
	f.Init, f.InitRunning = t.initSystem(f.Chroot)
	hints := t.dmi()
	f.Virt = t.virt(hints)
	f.Cloud, f.CloudSource = t.cloud(hints)
	if f.Seed.BaseOS == unknown {
		return f, fmt.Errorf("%w: no rule for %q (ID_LIKE %q); looked at os-release, lsb-release and the release files of the distributions",
			ErrUnknownOS, r.id, strings.Join(r.idLike, " "))
	}
	return f, nil
}

// unknown is the word of both vocabularies for what no rule knows.
const unknown = "unknown"

// cloud is the hint file's word, else what the firmware says.
func (t tree) cloud(hints cloud.Hints) (name, source string) {
	if words := strings.Fields(t.text("etc/rightscale.d/cloud")); len(words) > 0 && words[0] != "auto" {
		return words[0], "file"
	}
	if name := cloud.Recognise(hints); name != "" {
		return name, "dmi"
	}
	return "none", "default"
}
