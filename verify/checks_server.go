// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// serverChecks are about how the machine is reached.
func serverChecks() []*Check {
	return []*Check{
		{
			ID: "acc-sshd-password-auth", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "the SSH server takes no passwords, from nobody, and cloud-init does not turn them on",
			Remedy: "PasswordAuthentication no and KbdInteractiveAuthentication no, before any other value; ssh_pwauth: false",
			whole:  passwordLogin,
		},
		{
			ID: "acc-sshd-root-login", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "root logs in with a key at most",
			Remedy: "PermitRootLogin prohibit-password, before any other value",
			whole: func(x *probe) {
				if s := x.sshd(); s.installed {
					s.wrong(x, "permitrootlogin", "PermitRootLogin", "prohibit-password", "no", "prohibit-password", "without-password", "forced-commands-only")
				}
			},
		},
		{
			ID: "acc-sshd-trust", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "the SSH server trusts no host and no empty password; its configuration makes sense",
			Remedy: "take the setting out; delete the trust file",
			rules:  []rule{on(exists, "~/.rhosts", "~/.shosts", "/etc/hosts.equiv", "/etc/ssh/shosts.equiv")},
			whole:  sshdTrust,
		},
		{
			ID: "acc-sshd-key-sources", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "login keys come from the users' own files alone, or from EC2 Instance Connect",
			Remedy: "take the setting out: with it, its author could log in to every instance",
			whole:  keySources,
		},
		{
			ID: "acc-key-injection", Class: Disk, Severity: Blocker,
			Pass:   "something enabled puts the launch key in: cloud-init that may look for EC2, or our own bootstrap",
			Remedy: "remove what disables cloud-init, put Ec2 into datasource_list, or run the provisioner",
			whole:  keyInjection,
		},
		{
			ID: "acc-services", Class: Disk, Severity: Warning,
			Pass:   "SSH can be reached, and no other service listens that is known to be dangerous",
			Remedy: "disable the service, or waive it with its reason",
			whole:  listening,
		},
	}
}

func passwordLogin(x *probe) {
	s := x.sshd()
	if s.installed {
		s.wrong(x, "passwordauthentication", "PasswordAuthentication", "yes", "no")
		s.wrong(x, "kbdinteractiveauthentication", "KbdInteractiveAuthentication", "yes", "no")
	}
	if !x.cloudInit() {
		return
	}
	for _, p := range x.cloudConfigs() {
		for _, l := range x.lines(p) {
			if k, v := l.setting(); k == "ssh_pwauth" {
				if slices.Contains([]string{"true", "yes", "1"}, strings.ToLower(strings.Trim(v, "'\""))) {
					x.line(l, "cloud-init turns passwords on")
				}
				return
			}
		}
	}
}

func sshdTrust(x *probe) {
	s := x.sshd()
	if !s.installed {
		return
	}
	s.wrong(x, "permitemptypasswords", "PermitEmptyPasswords", "no", "no")
	s.wrong(x, "hostbasedauthentication", "HostbasedAuthentication", "no", "no")
	s.wrong(x, "ignorerhosts", "IgnoreRhosts", "yes", "yes", "shosts-only")
	s.wrong(x, "permituserenvironment", "PermitUserEnvironment", "no", "no")
	s.wrong(x, "strictmodes", "StrictModes", "yes", "yes")
	for _, l := range s.broken {
		x.line(l, "the line has no value, so that sshd does not start")
	}
	for _, d := range s.directives {
		words := strings.Fields(d.value)
		if d.key == "subsystem" && len(words) >= 2 && strings.HasPrefix(words[1], "/") && !x.Exists(words[1]) {
			x.line(d.line, "there is no %s", words[1])
		}
	}
}

func keySources(x *probe) {
	for _, d := range x.sshd().directives {
		if d.value == "none" {
			continue
		}
		switch d.key {
		case "trustedusercakeys", "authorizedprincipalsfile", "authorizedprincipalscommand", "revokedkeys":
			x.line(d.line, "%s %s", d.key, d.value)
		case "authorizedkeyscommand":
			if program := strings.Fields(d.value)[0]; !strings.Contains(program, "eic_run_authorized_keys") {
				x.line(d.line, "%s runs %s", d.key, program)
			}
		case "authorizedkeysfile":
			for _, f := range strings.Fields(d.value) {
				if path.IsAbs(f) && !strings.HasPrefix(f, "/root/") && !strings.HasPrefix(f, "/etc/dropbear") {
					x.line(d.line, "keys for all accounts in %s", f)
				}
			}
		}
	}
	if !x.owners().known() {
		return
	}
	module := regexp.MustCompile(`\bpam_[a-z0-9_]+\.so\b`)
	for _, p := range x.Glob("/etc/pam.d/*") {
		for _, l := range x.lines(p) {
			for _, name := range module.FindAllString(l.text, -1) {
				for _, file := range x.Glob("/usr/lib/*/security/"+name, "/lib/*/security/"+name, "/usr/lib64/security/"+name, "/lib/security/"+name) {
					if _, ok := x.owners().of(file); !ok {
						x.line(l, "%s comes from no package", name)
					}
				}
			}
		}
	}
}

func keyInjection(x *probe) {
	if x.cloudInit() {
		if why, ok := x.ec2Allowed(); !ok {
			x.at("/etc/cloud", "cloud-init does not look for EC2: %s", why)
		}
		return
	}
	if x.units().enabled("rightimage-key", "amazon-init", "ec2-get-credentials", "tiny-cloud", "tiny-cloud-main", "coreos-metadata-sshkeys@core", "afterburn-sshkeys@core", "google-guest-agent") {
		return
	}
	switch {
	case !x.has("/usr/bin/cloud-init", "/opt/rightscale/bin/bootstrap"):
		x.at("", "nothing puts the launch key in: neither cloud-init nor bootstrap is installed")
	default:
		x.at("", "nothing that is enabled puts the launch key in")
	}
}

// dangerous are services that should not listen unasked, by the unit's name.
func dangerous() []string {
	return []string{
		"telnet", "inetd", "xinetd", "rsh", "rlogin", "vsftpd", "proftpd", "pure-ftpd", "tftpd-hpa", "nfs-server", "nfs-kernel-server", "rpcbind", "smbd",
		"vncserver", "x11vnc", "mysql", "mysqld", "mariadb", "postgresql", "mongod", "redis", "redis-server", "memcached", "elasticsearch", "cups", "avahi-daemon", "snmpd",
	}
}

func listening(x *probe) {
	u := x.units()
	for _, name := range dangerous() {
		if u.enabled(name) {
			x.at("/etc/systemd/system", "%s is enabled", name)
		}
	}
	for _, p := range append(x.Glob("/etc/docker/daemon.json"), x.Glob("/etc/systemd/system/docker.service.d/*")...) {
		for _, l := range x.lines(p) {
			if strings.Contains(l.text, "tcp://") && !strings.Contains(l.text, "tcp://127.0.0.1") {
				x.line(l, "docker listens on the network")
			}
		}
	}
	if x.sshd().installed && !u.enabled("ssh", "sshd", "ssh.socket", "sshd.socket") {
		x.at("/etc/ssh", "the SSH server is installed but not enabled")
	}
	for _, l := range x.lines("/etc/nftables.conf") {
		if strings.Contains(l.text, "hook input") && strings.Contains(l.text, "policy drop") && u.enabled("nftables") && !regexp.MustCompile(`dport\s+(\{[^}]*)?\b(22|ssh)\b`).MatchString(x.Text("/etc/nftables.conf")) {
			x.line(l, "the firewall drops SSH")
		}
	}
	if u.enabled("ufw") && strings.Contains(x.Text("/etc/ufw/ufw.conf"), "ENABLED=yes") && !regexp.MustCompile(`(?m)^### tuple ### (allow|limit) \S+ 22\b`).MatchString(x.Text("/etc/ufw/user.rules")) {
		x.at("/etc/ufw/user.rules", "the firewall drops SSH")
	}
}
