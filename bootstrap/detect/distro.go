// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"slices"
	"strconv"
	"strings"
)

// distro is a row of the table of distributions: os-release ID, the seed
// script's RS_DISTRO and RS_BASE_OS, and what lsb_release -is prints there in
// lower case. New distributions keep their own ID as RS_DISTRO.
type distro struct{ id, seed, base, lsb string }

func distros() []distro {
	return []distro{
		{"debian", "debian", "debian", "debian"},
		{"ubuntu", "ubuntu", "debian", "ubuntu"},
		{"raspbian", "debian", "debian", "raspbian"},
		{"linuxmint", "linuxmint", "debian", "linuxmint"},
		{"centos", "centos", "redhat", "centos"},
		{"rhel", "rhel", "redhat", "redhatenterprise"},
		{"fedora", "fedora", "redhat", "fedora"},
		{"ol", "oel", "redhat", "oracleserver"},
		{"amzn", "amzn", "redhat", "amazon"},
		{"rocky", "rocky", "redhat", "rocky"},
		{"almalinux", "almalinux", "redhat", "almalinux"},
		{"scientific", "scientific", "redhat", "scientific"},
		{"sles", "suse", "suse", "suse"},
		{"sled", "suse", "suse", "suse"},
		{"sles_sap", "suse", "suse", "suse"},
		{"suse", "suse", "suse", "suse"},
		{"opensuse", "suse", "suse", "opensuse"},
		{"opensuse-leap", "suse", "suse", "opensuse"},
		{"opensuse-tumbleweed", "suse", "suse", "opensuse"},
		{"alpine", "alpine", "alpine", "alpine"},
		{"arch", "arch", "arch", "arch"},
		{"gentoo", "gentoo", "gentoo", "gentoo"},
	}
}

// likeBase maps a word of ID_LIKE to a base OS, for distributions that the
// table does not have.
func likeBase(word string) string {
	switch word {
	case "debian", "ubuntu":
		return "debian"
	case "rhel", "fedora", "centos":
		return "redhat"
	case "suse", "opensuse", "sles":
		return "suse"
	case "alpine", "arch", "gentoo":
		return word
	}
	return ""
}

// vocabularies puts a release into the words of the seed script and of the
// agent.
func vocabularies(r release, arch string) (Seed, Agent) {
	d := distro{r.id, unknown, unknown, unknown}
	all := distros()
	if i := slices.IndexFunc(all, func(d distro) bool { return d.id == r.id }); i >= 0 {
		d = all[i]
	} else if r.id != "" {
		d.lsb = r.id
		for _, word := range r.idLike {
			if base := likeBase(word); base != "" {
				d.seed, d.base = r.id, base
				break
			}
		}
	}
	if r.id == "rhel" && major(r.major) < 8 {
		d.lsb = "redhatenterpriseserver" // the name was cut short in version 8
	}
	seed := Seed{Distro: d.seed, BaseOS: d.base, OSVersion: lsbVersion(r), Suffix: suffix(d.base), Arch: seedArch(d.base, arch)}
	return seed, Agent{Distro: d.lsb, Arch: agentArch(arch)}
}

// lsbVersion is what lsb_release -rs prints: the point release on CentOS and on
// Debian before 10, else VERSION_ID.
func lsbVersion(r release) string {
	version := r.major
	if r.id == "centos" || r.id == "sles" || r.id == "debian" && major(r.major) < 10 {
		version = r.version
	}
	if version == "" {
		return unknown
	}
	return version
}

func major(version string) int {
	head, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(head)
	if err != nil {
		return 1 << 20 // no number: a rolling release, newer than all
	}
	return n
}

// suffix is the package format; the tarball fits everywhere.
func suffix(base string) string {
	switch base {
	case "debian":
		return "deb"
	case "redhat", "suse":
		return "rpm"
	}
	return "tar.gz"
}
