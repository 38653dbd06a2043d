// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"io/fs"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// packageChecks are about what is installed.
func packageChecks() []*Check {
	return []*Check{
		{
			ID: "pkg-os-supported", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "the distribution gets security updates on the day of publication",
			Remedy: "build on a release that is supported",
			whole:  supported,
		},
		{
			ID: "pkg-vulnerable", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "no package has a known critical hole; without the distribution's advisories this cannot be told, and is reported as skipped",
			Remedy: "upgrade all packages before the image is cleaned, and scan it with a scanner that has the advisories",
			whole:  func(x *probe) { x.skip("advisories are not at hand: scan the image with a scanner of vulnerabilities") },
		},
		{
			ID: "pkg-malware", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "no library is loaded into every program, and no programs lie in temporary directories",
			Remedy: "find out where it comes from, and rebuild",
			rules: []rule{
				on(hasLines, "/etc/ld.so.preload"),
				on(program, "/tmp/**", "/var/tmp/**", "/dev/shm/**"),
			},
		},
		{
			ID: "pkg-banned", Class: Disk, Severity: Warning,
			Pass:   "no packages that do not belong on a cloud image: servers without encryption, agents of other hypervisors",
			Remedy: "remove the package, or waive it with its reason",
			whole:  banned,
		},
		{
			ID: "pkg-required", Class: Disk, Severity: Blocker,
			Pass:   "an SSH server, sudo and CA certificates are installed; something handles the power button",
			Remedy: "install the package",
			whole:  required,
		},
		{
			ID: "pkg-repos", Class: Disk, Severity: Warning, Public: true,
			Pass:   "package sources are public and signed and not frozen; no proxy of the build network",
			Remedy: "put the distribution's own sources back; delete the proxy setting",
			rules: []rule{on(sources, "/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/yum.repos.d/*.repo", "/etc/zypp/repos.d/*.repo", "/etc/apk/repositories"),
				on(packageSettings, "/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*", "/etc/yum.conf", "/etc/dnf/dnf.conf", "/etc/environment", "/etc/profile.d/*", "/etc/wgetrc", "/etc/systemd/system/**/*.conf")},
		},
		{
			ID: "pkg-cache-db", Class: Disk, Severity: Info, Cleans: true,
			Pass:   "caches of packages are empty, and the package database is consistent",
			Remedy: "apt-get clean, dnf clean all; dpkg --configure -a",
			rules: []rule{on(filled, "/var/cache/apt/archives/*.deb", "/var/lib/apt/lists/*", "/var/cache/yum/**", "/var/cache/dnf/**", "/var/cache/zypp/**", "/var/cache/apk/*", "/var/cache/snapd/**",
				"/var/lib/rpm/__db.*", "/var/cache/apt/*.bin", "/var/lib/rpm/.rpm.lock")},
			whole: func(x *probe) {
				for _, p := range x.owners().packages {
					if p.state != "" && !strings.HasSuffix(p.state, " installed") && !strings.HasSuffix(p.state, " config-files") && !strings.HasSuffix(p.state, " not-installed") {
						x.as(Warning, "/var/lib/dpkg/status", 0, "%s is %s", p.name, p.state)
					}
				}
			},
		},
		{
			ID: "pkg-redistribution", Class: Disk, Severity: Info, Public: true,
			Pass:   "the publisher may pass the system on, and no licence file is in it",
			Remedy: "make sure that the licence allows it",
			rules:  []rule{on(filled, "*.lic", "license.key")},
			whole: func(x *probe) {
				switch id := x.release["ID"]; id {
				case "rhel", "sles", "sled", "ol", "sles_sap":
					x.at("/etc/os-release", "%s needs a subscription", id)
				}
			},
		},
	}
}

// ends are the last days of security updates, by ID and VERSION_ID of
// os-release, as the distributions have announced them (state: mid-2026).
func ends() map[string]string {
	return map[string]string{
		"debian 8": "2020-06-30", "debian 9": "2022-06-30", "debian 10": "2024-06-30", "debian 11": "2026-08-31", "debian 12": "2028-06-30", "debian 13": "2030-06-30",
		"ubuntu 14.04": "2019-04-30", "ubuntu 16.04": "2021-04-30", "ubuntu 18.04": "2023-05-31", "ubuntu 20.04": "2025-05-31", "ubuntu 22.04": "2027-06-01", "ubuntu 24.04": "2029-05-31",
		"ubuntu 23.10": "2024-07-11", "ubuntu 24.10": "2025-07-10", "ubuntu 25.04": "2026-01-15", "ubuntu 26.04": "2031-05-31",
		"centos 6": "2020-11-30", "centos 7": "2024-06-30", "centos 8": "2024-05-31", "centos 9": "2027-05-31", "centos 10": "2030-01-01",
		"rhel 6": "2020-11-30", "rhel 7": "2024-06-30", "rhel 8": "2029-05-31", "rhel 9": "2032-05-31", "rhel 10": "2035-05-31",
		"rocky 8": "2029-05-31", "rocky 9": "2032-05-31", "rocky 10": "2035-05-31", "almalinux 8": "2029-03-01", "almalinux 9": "2032-05-31", "almalinux 10": "2035-05-31",
		"fedora 39": "2024-11-26", "fedora 40": "2025-05-13", "fedora 41": "2025-12-15", "fedora 42": "2026-05-13", "fedora 43": "2026-12-02",
		"amzn 1": "2023-12-31", "amzn 2018.03": "2023-12-31", "amzn 2": "2026-06-30", "amzn 2023": "2029-06-30",
		"alpine 3.17": "2024-11-22", "alpine 3.18": "2025-05-09", "alpine 3.19": "2025-11-01", "alpine 3.20": "2026-04-01", "alpine 3.21": "2026-11-01", "alpine 3.22": "2027-05-01", "alpine 3.23": "2027-11-01",
		"sles 12.5": "2024-10-31", "sles 15.5": "2024-12-31", "sles 15.6": "2025-12-31", "sles 15.7": "2031-07-31", "opensuse-leap 15.5": "2024-12-31", "opensuse-leap 15.6": "2026-04-30",
	}
}

func supported(x *probe) {
	id, version := x.release["ID"], x.release["VERSION_ID"]
	if id == "" {
		x.as(Warning, "/etc/os-release", 0, "the system does not say what it is")
		return
	}
	major, _, _ := strings.Cut(version, ".")
	end := ends()[id+" "+version]
	if parts := strings.SplitN(version, ".", 3); end == "" && len(parts) == 3 {
		end = ends()[id+" "+parts[0]+"."+parts[1]]
	}
	if end == "" {
		end = ends()[id+" "+major]
	}
	if end == "" {
		if version != "" {
			x.skip("it is not known until when " + id + " " + version + " gets security updates")
		}
		return
	}
	last, err := time.Parse(time.DateOnly, end)
	switch {
	case err != nil:
	case x.engine.o.Now.After(last.AddDate(0, 0, 1)):
		x.at("/etc/os-release", "%s %s has had no security updates since %s", id, version, end)
	case x.engine.o.Now.AddDate(0, 3, 0).After(last):
		x.as(Info, "/etc/os-release", 0, "%s %s gets security updates until %s only", id, version, end)
	}
}

func program(x *file) {
	if x.Regular() && x.Mode.Perm()&0o111 != 0 && x.Size > 4 {
		f, err := x.Open()
		if err != nil {
			return
		}
		defer f.Close() //nolint:errcheck // only read
		head := make([]byte, 4)
		if _, err := f.Read(head); err == nil && (string(head) == "\x7fELF" || string(head[:2]) == "#!") {
			x.found("a program in a temporary directory")
		}
	}
	if x.Mode&fs.ModeDevice != 0 {
		x.found("a device in a temporary directory")
	}
}

func banned(x *probe) {
	for _, name := range []string{
		"sendmail", "yum-cron", "telnetd", "telnet-server", "inetutils-telnetd", "rsh-server", "rsh-redone-server", "tftpd-hpa", "tftp-server", "ypbind", "ypbind-mt", "nis", "xinetd",
		"walinuxagent", "WALinuxAgent", "google-guest-agent", "google-compute-engine", "open-vm-tools", "virtualbox-guest-utils", "virtualbox-guest-additions", "hyperv-daemons", "qemu-guest-agent-legacy",
	} {
		if _, ok := x.owners().has(name); ok {
			x.at("", "the package %s is installed", name)
		}
	}
}

func required(x *probe) {
	if !x.sshd().installed && !x.has("/usr/sbin/dropbear", "/usr/sbin/tinysshd") {
		x.at("/usr/sbin/sshd", "there is no SSH server")
	}
	if !x.has("/usr/bin/sudo", "/usr/bin/doas", "/bin/sudo") {
		x.at("/usr/bin/sudo", "sudo is not installed")
	}
	if !x.has("/usr/bin/cloud-init", "/opt/rightscale/bin/bootstrap", "/usr/bin/tiny-cloud", "/usr/lib/tiny-cloud", "/usr/bin/afterburn") {
		x.at("", "there is nothing that reads the instance's metadata: install cloud-init, or run the provisioner")
	}
	if !x.has("/usr/lib/systemd/systemd-logind", "/lib/systemd/systemd-logind", "/usr/sbin/acpid", "/sbin/acpid") && !x.has("/usr/libexec/elogind") {
		x.as(Warning, "", 0, "nothing handles the power button: stopping an instance would take minutes")
	}
}

// sources judges where packages come from.
func sources(x *file) {
	if !x.Regular() || strings.HasSuffix(x.Path, ".gpg") || strings.HasSuffix(x.Path, ".save") {
		return
	}
	address := regexp.MustCompile(`\b(https?|ftp|file|cdrom|copy)\b:(//)?([^\s/"']*)([^\s"']*)`)
	frozen := regexp.MustCompile(`snapshot\.debian\.org|/(19|20)\d{6}(T\d{6}Z)?(/|$)|/archive/(19|20)\d{2}/`)
	off := false
	for _, l := range x.lines(x.Path) {
		k, v := l.setting()
		if strings.HasPrefix(l.text, "[") && strings.HasSuffix(l.text, "]") {
			off = false
		}
		switch {
		case strings.EqualFold(k, "enabled") && (v == "0" || v == "no"):
			off = true
		case strings.EqualFold(k, "gpgcheck") && v == "0" && !off:
			x.line(l, "packages are not checked: gpgcheck=0")
		case strings.Contains(l.text, "trusted=yes") || strings.EqualFold(k, "Trusted") && strings.EqualFold(v, "yes"):
			x.line(l, "packages are not checked: trusted=yes")
		}
		for _, m := range address.FindAllStringSubmatch(l.text, -1) {
			host := strings.ToLower(m[3])
			if _, after, ok := strings.Cut(host, "@"); ok {
				host = after
			}
			host, _, _ = strings.Cut(host, ":")
			addr, err := netip.ParseAddr(host)
			switch {
			case strings.Contains(l.text, "gpgkey") || strings.HasPrefix(strings.ToLower(k), "gpgkey"):
			case m[1] == "file" || m[1] == "cdrom" || m[1] == "copy":
				x.line(l, "a source of the build machine")
			case err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()), host == "localhost", strings.HasSuffix(host, ".internal"), strings.HasSuffix(host, ".lan"), strings.HasSuffix(host, ".local"), host != "" && err != nil && !strings.Contains(host, "."):
				x.line(l, "a source of the build network: %s", host)
			case frozen.MatchString(m[3] + m[4]):
				x.line(l, "a source that is frozen at a date")
			}
		}
	}
}

// packageSettings judges settings of package tools and of proxies.
func packageSettings(x *file) {
	if !x.Regular() || x.Size > 1<<20 {
		return
	}
	proxy := regexp.MustCompile(`(?i)(Acquire::[a-z:]*Proxy[^:]*\s+"?https?:|^\s*proxy\s*=\s*\S|\b(https?|ftp|all)_proxy=["']?[a-z0-9])`)
	unchecked := regexp.MustCompile(`(?i)(AllowUnauthenticated|AllowInsecureRepositories|AllowDowngradeToInsecureRepositories)\s+"?(true|1|yes)|Verify-Peer\s+"?(false|0|no)|^gpgcheck\s*=\s*0|^sslverify\s*=\s*(0|false|no)`)
	for _, l := range x.lines(x.Path) {
		if proxy.MatchString(l.text) && !strings.Contains(l.text, "DIRECT") && !strings.Contains(l.text, "_none_") {
			x.line(l, "a proxy")
		}
		if unchecked.MatchString(l.text) {
			x.line(l, "packages are not checked")
		}
	}
}
