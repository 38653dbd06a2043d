// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// networkChecks are about what an instance finds of a network.
func networkChecks() []*Check {
	return []*Check{
		{
			ID: "net-dhcp", Class: Disk, Severity: Blocker,
			Pass:   "the first network interface gets its address by DHCP, whatever its name, and nothing is left of the build network",
			Remedy: "remove static addresses; configure DHCP for every interface",
			rules:  []rule{on(staticAddress, "/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/sysconfig/network-scripts/ifcfg-*", "/etc/systemd/network/*.network", "/etc/netplan/*", "/etc/NetworkManager/system-connections/*")},
			whole:  dhcp,
		},
		{
			ID: "net-resolv-conf", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "no name server of the build network, and none that is written into the image",
			Remedy: "empty /etc/resolv.conf, or link it to the local resolver",
			rules: []rule{
				on(nameServer, "/etc/resolv.conf"),
				on(hasLines, "/etc/resolvconf/resolv.conf.d/original", "/etc/resolvconf/resolv.conf.d/tail"),
				on(containing(`^(DNS|FallbackDNS)=\S`), "/etc/systemd/resolved.conf", "/etc/systemd/resolved.conf.d/*"),
				on(containing(`^(supersede|prepend)\s+domain-name`), "/etc/dhcp/dhclient.conf"),
			},
		},
		{
			ID: "net-time-sync", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "exactly one time client is enabled, with a public pool or EC2's own source; the clock is UTC; no drift file",
			Remedy: "enable chrony or systemd-timesyncd; link /etc/localtime to UTC",
			rules:  []rule{on(filled, "/var/lib/ntp/ntp.drift", "/var/lib/ntpsec/ntp.drift", "/var/lib/chrony/drift", "/var/lib/chrony/chrony.drift", "/var/lib/systemd/timesync/clock.*")},
			whole:  timeSync,
		},
		{
			ID: "net-imdsv2-clients", Class: Disk, Severity: Blocker,
			Pass:   "nothing asks the metadata service without a token, which IMDSv2 refuses",
			Remedy: "ask for a token first: PUT /latest/api/token",
			rules:  []rule{on(tokenless, "/etc/rc.local", "/etc/rc.d/rc.local", "/etc/init.d/*", "/etc/systemd/system/**", "/usr/local/**", "/etc/cron.*/*", "/etc/profile.d/*")},
			whole:  oldCloudInit,
		},
		{
			ID: "net-ca-trust", Class: Disk, Severity: Warning, Public: true,
			Pass:   "the bundle of CA certificates is there, and nobody has added to it",
			Remedy: "install ca-certificates; delete added roots and rebuild the bundle",
			rules:  []rule{on(unownedFilled, "/usr/local/share/ca-certificates/**", "/etc/pki/ca-trust/source/anchors/*", "/etc/ca-certificates/trust-source/anchors/*")},
			whole: func(x *probe) {
				if p := x.firstOf("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"); p == "" || !strings.Contains(x.Text(p), "BEGIN CERTIFICATE") {
					x.at("/etc/ssl/certs", "there is no bundle of CA certificates")
				}
			},
		},
	}
}

// loopbackFile reports whether a file is about the loopback interface.
func loopbackFile(p string) bool {
	return path.Base(p) == "ifcfg-lo" || strings.HasSuffix(path.Base(p), "lo.network")
}

func staticAddress(x *file) {
	if !x.Regular() || loopbackFile(x.Path) {
		return
	}
	setting := regexp.MustCompile(`(?i)^(address\d?|gateway\d?|addresses|gateway4|gateway6|ipaddr\d?|route\d+|via|to)?$`)
	for _, l := range x.lines(x.Path) {
		k, v := l.setting()
		k = strings.TrimSpace(strings.ToLower(k))
		if k == "iface" {
			continue
		}
		for _, word := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" ,;[]\"'", r) }) {
			bare, _, _ := strings.Cut(word, "/")
			addr, err := netip.ParseAddr(bare)
			if err == nil && !addr.IsLoopback() && !addr.IsUnspecified() && (setting.MatchString(k) || strings.HasPrefix(l.text, "- ")) {
				x.line(l, "the static address %s", addr)
			}
		}
		if k == "onboot" && strings.EqualFold(v, "no") && strings.Contains(x.Path, "ifcfg-e") {
			x.line(l, "the interface does not come up at boot")
		}
	}
}

func dhcp(x *probe) {
	u := x.units()
	if x.cloudInit() && !strings.Contains(x.joined(x.cloudConfigs()), "network: {config: disabled}") {
		return
	}
	switch {
	case u.enabled("systemd-networkd") && regexp.MustCompile(`(?mi)^DHCP\s*=\s*(yes|true|ipv4|both|v4)`).MatchString(x.joined(x.Glob("/etc/systemd/network/*.network", "/usr/lib/systemd/network/*.network", "/run/systemd/network/*.network"))):
	case regexp.MustCompile(`(?m)dhcp4:\s*(true|yes)`).MatchString(x.joined(x.Glob("/etc/netplan/*.yaml"))):
	case u.enabled("NetworkManager") && !strings.Contains(x.joined(x.Glob("/etc/NetworkManager/conf.d/*")), "no-auto-default=*"):
	case regexp.MustCompile(`(?mi)^BOOTPROTO\s*=\s*"?dhcp`).MatchString(x.joined(x.Glob("/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*"))):
	case regexp.MustCompile(`(?m)^\s*iface\s+\S+\s+inet\s+dhcp`).MatchString(x.joined(append(x.Glob("/etc/network/interfaces.d/*"), "/etc/network/interfaces"))):
	case u.enabled("dhcpcd", "wicked", "connman"):
	default:
		x.at("/etc", "nothing that is enabled configures an interface by DHCP")
	}
}

func (x *probe) joined(paths []string) string {
	var b strings.Builder
	for _, p := range paths {
		b.WriteString(x.Text(p) + "\n")
	}
	return b.String()
}

// nameServer judges a resolv.conf that is a file of its own.
func nameServer(x *file) {
	if _, err := x.Lstat("/etc/.resolv.conf.rightimage-saved"); !x.Regular() || err == nil {
		return // a build is under way, and the file is lent
	}
	for _, l := range x.lines(x.Path) {
		w := l.words()
		switch {
		case len(w) < 2:
		case w[0] == "nameserver":
			if addr, err := netip.ParseAddr(w[1]); err != nil || !addr.IsLoopback() {
				x.line(l, "the name server %s", w[1])
			}
		case w[0] == "search" || w[0] == "domain":
			if w[1] != "." {
				x.line(l, "the domain %s", w[1])
			}
		}
	}
}

func timeSync(x *probe) {
	u := x.units()
	var clients []string
	for _, c := range [][]string{{"chrony", "chronyd"}, {"ntp", "ntpd", "ntpsec", "openntpd"}, {"systemd-timesyncd"}} {
		if u.enabled(c...) {
			clients = append(clients, c[0])
		}
	}
	switch {
	case len(clients) == 0:
		x.at("/etc/systemd/system", "no time client is enabled")
	case len(clients) > 1:
		x.at("/etc/systemd/system", "several time clients are enabled: %s", strings.Join(clients, ", "))
	}
	for _, p := range x.Glob("/etc/chrony/chrony.conf", "/etc/chrony/conf.d/*.conf", "/etc/chrony/sources.d/*", "/etc/chrony.conf", "/etc/ntp.conf", "/etc/ntpsec/ntp.conf", "/etc/systemd/timesyncd.conf", "/etc/systemd/timesyncd.conf.d/*") {
		for _, l := range x.lines(p) {
			w := strings.Fields(strings.Replace(l.text, "=", " ", 1))
			if len(w) < 2 || !slices.Contains([]string{"server", "peer", "pool", "NTP"}, w[0]) {
				continue
			}
			for _, name := range w[1:] {
				addr, err := netip.ParseAddr(name)
				if err == nil && addr.IsPrivate() && name != "fd00:ec2::123" || strings.HasSuffix(name, ".internal") || strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".lan") {
					x.line(l, "the time server %s of the build network", name)
				}
			}
		}
	}
	if to, err := x.Readlink("/etc/localtime"); err == nil {
		switch zone := to[strings.LastIndex(to, "zoneinfo/")+1:]; strings.TrimPrefix(zone, "oneinfo/") {
		case "UTC", "Etc/UTC", "Universal", "Zulu", "Etc/UCT", "UCT", "Etc/Universal", "Etc/Zulu":
		default:
			x.at("/etc/localtime", "the zone is %s", path.Base(to))
		}
	}
}

func tokenless(x *file) {
	if !x.Regular() || x.Size > 1<<20 {
		return
	}
	text := x.text()
	if !strings.Contains(text, "169.254.169.254") || strings.Contains(text, "\x00") {
		return
	}
	for _, l := range parseLines(x.Path, text) {
		if strings.Contains(l.text, "169.254.169.254") && !regexp.MustCompile(`(?i)api/token|metadata-token`).MatchString(text) {
			x.line(l, "asks the metadata service without a token")
			return
		}
	}
}

// oldCloudInit compares with the first version that asks for tokens.
func oldCloudInit(x *probe) {
	for _, p := range x.owners().packages {
		if p.name != "cloud-init" {
			continue
		}
		m := regexp.MustCompile(`^(?:\d+:)?(\d+)\.(\d+)`).FindStringSubmatch(p.version)
		if m != nil && (atoi(m[1]) < 19 || atoi(m[1]) == 19 && atoi(m[2]) < 4) && atoi(m[1]) > 0 {
			x.at("/usr/bin/cloud-init", "cloud-init %s knows no tokens", p.version)
		}
	}
}
