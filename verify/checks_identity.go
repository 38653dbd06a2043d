// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"net/netip"
	"path"
	"regexp"
	"strings"
)

// identityChecks are about what must differ between instances.
func identityChecks() []*Check {
	return []*Check{
		{
			ID: "id-ssh-host-keys", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no SSH host keys: all instances would have the same",
			Remedy: "delete both halves; the first boot makes new ones",
			rules: []rule{on(exists, "/etc/ssh/ssh_host_*", "/etc/ssh/*_host_*key*", "/etc/dropbear/*_host_key", "/etc/dropbear/initramfs/*_host_key",
				"/etc/dropbear-initramfs/*_host_key", "/etc/tinyssh/sshkeydir/*")},
			whole: initramfsHostKeys,
		},
		{
			ID: "id-ssh-hostkey-regen", Class: Disk, Severity: Blocker,
			Pass:   "something enabled makes host keys at the first boot: cloud-init, sshd-keygen, or our own bootstrap",
			Remedy: "enable a generator, such as rightimage-early or cloud-init",
			whole:  hostKeyGenerator,
		},
		{
			ID: "id-machine-id", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "/etc/machine-id is empty or \"uninitialized\"; D-Bus has none of its own; the kernel is given none",
			Remedy: "empty /etc/machine-id and make D-Bus's a link to it",
			whole:  machineID,
		},
		{
			ID: "id-systemd-secrets", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no random seed and no credential key of systemd",
			Remedy: "delete the file; systemd makes its own",
			rules: []rule{
				on(filled, "/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed", "/var/lib/misc/random-seed", "/var/lib/seedrng/*",
					"/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed", "/var/lib/systemd/credential.secret", "/etc/credstore.encrypted/*"),
				on(containing(`SYSTEMD_RANDOM_SEED_CREDIT=(1|yes|true|force)`), "/etc/systemd/system/**"),
			},
		},
		{
			ID: "id-cloud-init-state", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "cloud-init has kept nothing: no user-data, no metadata, no generated configuration, no logs",
			Remedy: "cloud-init clean --logs --seed --configs all",
			rules: []rule{on(exists, "/var/lib/cloud/instance", "/var/lib/cloud/instances/**", "/var/lib/cloud/data/**", "/var/lib/cloud/sem/*", "/var/lib/cloud/scripts/per-*/*",
				"/var/lib/cloud/seed/**", "/run/cloud-init/**", "/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init*",
				"/etc/NetworkManager/system-connections/cloud-init-*", "/etc/systemd/network/10-cloud-init-*", "/etc/ssh/sshd_config.d/50-cloud-init.conf"),
				on(filled, "/var/log/cloud-init*.log")},
		},
	}
}

// hostChecks are about names and identifiers that programs keep of the machine
// they ran on.
func hostChecks() []*Check {
	return []*Check{
		{
			ID: "id-hostname-hosts", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "no host name of the build machine, and only loopback names in /etc/hosts",
			Remedy: "empty /etc/hostname and take the lines out of /etc/hosts",
			rules: []rule{
				on(hostName, "/etc/hostname", "/etc/HOSTNAME", "/etc/mailname"),
				on(assigning("hostname", "dhcp_hostname"), "/etc/sysconfig/network", "/etc/sysconfig/network-scripts/ifcfg-*"),
				on(assigning("pretty_hostname", "location", "deployment"), "/etc/machine-info"),
				on(myHostname, "/etc/postfix/main.cf"),
				on(exists, "/etc/hosts.backup.*"),
				on(hosts, "/etc/hosts"),
			},
		},
		{
			ID: "id-dhcp-state", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "no leases, DUIDs or secrets of DHCP clients",
			Remedy: "delete the files, keep the directories",
			rules: []rule{on(filled, "/var/lib/dhcp/*", "/var/lib/dhcp3/*", "/var/lib/dhclient/*", "/var/lib/dhcpcd/*", "/var/lib/dhcpcd5/*", "/etc/dhcpcd.duid", "/var/lib/NetworkManager/*.lease",
				"/var/lib/NetworkManager/seen-bssids", "/var/lib/NetworkManager/timestamps", "/var/lib/NetworkManager/secret_key", "/var/lib/wicked/*", "/var/lib/dhcpd/*",
				"/var/lib/systemd/network/*.lease")},
		},
		{
			ID: "id-mac-pins", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no network interface is bound to a hardware address",
			Remedy: "delete the rule or the line",
			rules: []rule{
				on(macPin, "/etc/udev/rules.d/70-persistent-net.rules", "/etc/udev/rules.d/*-persistent-cd.rules", "/etc/systemd/network/*", "/etc/sysconfig/network-scripts/ifcfg-*",
					"/etc/netplan/*", "/etc/NetworkManager/system-connections/*", "/etc/network/interfaces", "/etc/network/interfaces.d/*"),
			},
		},
		{
			ID: "id-os-entitlement", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "not registered with a subscription service",
			Remedy: "unregister before the image is made, and delete what is left",
			rules: []rule{
				on(unownedFilled, "/etc/pki/consumer/*", "/etc/pki/entitlement/*", "/var/lib/rhsm/**", "/etc/sysconfig/rhn/systemid", "/etc/insights-client/machine-id", "/etc/SUSEConnect",
					"/etc/zypp/credentials.d/*", "/var/lib/ubuntu-advantage/private/*"),
				on(assigning("account_name", "registration_key"), "/etc/landscape/client.conf"),
			},
		},
		{
			ID: "id-host-uuids", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "no identifiers that programs make once for a machine",
			Remedy: "delete the file; its program makes a new one",
			rules: []rule{
				on(filled, "/etc/nvme/hostid", "/etc/nvme/hostnqn", "/etc/multipath/bindings", "/etc/multipath/wwids", "/etc/lvm/devices/system.devices", "/etc/lvm/cache/.cache",
					"/etc/blkid.tab*", "/run/blkid/blkid.tab*", "/var/lib/yum/uuid", "/etc/smolt/*uuid", "/var/lib/docker/engine-id", "/etc/docker/key.json", "/var/lib/mysql/auto.cnf",
					"/var/lib/rabbitmq/.erlang.cookie", "/etc/pacman.d/gnupg/private-keys-v1.d/*", "/etc/pacman.d/gnupg/secring.gpg"),
				on(assigning("initiatorname"), "/etc/iscsi/initiatorname.iscsi"),
				on(assigning("my_hostid"), "/etc/popularity-contest.conf"),
			},
		},
	}
}

func initramfsHostKeys(x *probe) {
	for _, p := range x.Glob("/boot/initrd*", "/boot/initramfs*") {
		list, err := x.initramfs(p)
		if err != nil {
			continue // cred-authorized-keys has told it
		}
		for name := range list.kept {
			if strings.Contains(path.Base(name), "_host_") {
				x.at(p, "the host key %s in it", name)
			}
		}
	}
}

// hostKeyGenerator looks for whatever makes keys: without one sshd does not
// start, or all instances have the keys of the image.
func hostKeyGenerator(x *probe) {
	if !x.sshd().installed {
		return
	}
	u := x.units()
	if x.cloudInit() && x.cloudModule("ssh") && !x.cloudSays("ssh_deletekeys", "false") {
		return
	}
	if u.enabled("rightimage-early", "sshd-keygen", "sshdgenkeys", "ssh-keygen", "regenerate_ssh_host_keys", "sshd-keygen.target") || u.systemd() && u.enabled("sshd") && u.file("sshd-keygen.target") != "" {
		return
	}
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		for _, p := range x.Glob(dir + "/*.service") {
			if strings.Contains(x.Text(p), "ssh-keygen") && (u.enabled(path.Base(p)) || u.enabled("sshd") && strings.Contains(x.Text("/usr/lib/systemd/system/sshd.service"), path.Base(p))) {
				return
			}
		}
	}
	if !u.systemd() && strings.Contains(x.Text("/etc/init.d/sshd"), "ssh-keygen") {
		return // OpenRC's own
	}
	x.at("/etc/ssh", "nothing that is enabled makes host keys")
}

func machineID(x *probe) {
	switch text := strings.TrimSpace(x.Text("/etc/machine-id")); {
	case text != "" && text != "uninitialized":
		x.at("/etc/machine-id", "has an id")
	case !x.Exists("/etc/machine-id") && x.units().systemd():
		x.as(Warning, "/etc/machine-id", 0, "is missing, which fails on a read-only root")
	}
	const bus = "/var/lib/dbus/machine-id"
	if _, err := x.Readlink(bus); err != nil && strings.TrimSpace(x.Text(bus)) != "" {
		x.at(bus, "has an id of its own, which systemd would copy back")
	}
	for _, l := range x.kernelCommandLines() {
		if strings.Contains(l.text, "systemd.machine_id=") {
			x.line(l, "the kernel is given systemd.machine_id")
		}
	}
}

// generic are host names that say nothing about the build machine.
func generic(name string) bool {
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	switch name {
	case "", "localhost", "debian", "ubuntu", "fedora", "centos", "rocky", "alma", "almalinux", "alpine", "arch", "archlinux", "suse", "opensuse", "amazonlinux", "localhost4", "localhost6":
		return true
	}
	return false
}

func hostName(x *file) {
	if name := strings.TrimSpace(x.text()); x.Regular() && !generic(name) {
		x.found("the name %q", name)
	}
}

func myHostname(x *file) {
	for _, l := range x.lines(x.Path) {
		if name, value := l.setting(); name == "myhostname" && !generic(value) && !strings.HasPrefix(value, "$") {
			x.line(l, "myhostname is %q", value)
		}
	}
}

// hosts finds names of the build network.
func hosts(x *file) {
	for _, l := range x.lines(x.Path) {
		words := l.words()
		addr, err := netip.ParseAddr(strings.SplitN(words[0], "%", 2)[0])
		if err != nil {
			continue
		}
		switch {
		case addr.IsLoopback():
			for _, name := range words[1:] {
				if !generic(name) && !strings.HasPrefix(name, "ip6-") && !strings.HasPrefix(name, "ipv6-") {
					x.line(l, "the name %q", name)
				}
			}
		case addr.IsMulticast() || addr == netip.IPv6Unspecified() || addr.Is6() && strings.HasPrefix(words[0], "fe00::"):
		default:
			x.line(l, "the address %s", addr)
		}
	}
}

func macPin(x *file) {
	if !x.Regular() {
		return
	}
	address := regexp.MustCompile(`(?i)\b([0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b`)
	pin := regexp.MustCompile(`(?i)(address|hwaddr|macaddr|mac-address|hwaddress|macaddress|ATTR|PermanentMACAddress)`)
	for _, l := range x.lines(x.Path) {
		if address.MatchString(l.text) && pin.MatchString(l.text) {
			x.line(l, "a hardware address")
		}
	}
	if strings.Contains(x.Path, "persistent-cd") && x.Size > 0 && len(x.lines(x.Path)) > 0 {
		x.found("names the drive of the build machine")
	}
}

// unownedFilled finds files with content that no package has brought.
func unownedFilled(x *file) {
	if _, ok := x.owners().of(x.Path); !ok {
		filled(x)
	}
}
