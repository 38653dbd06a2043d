// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus

import (
	"io/fs"
	"strings"
)

// Case is a defect and what only looks like it.
type Case struct {
	// Check has to find the defect, and nothing in the near-miss.
	Check string
	Name  string
	// Defect and Near are planted into the base tree, each alone.
	Defect, Near Plant
}

const (
	suid     = fs.ModeSetuid | 0o755
	authKeys = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ builder@laptop\n"
)

// Cases are all of the corpus.
func Cases() []Case {
	var out []Case
	for _, part := range [][]Case{credentials(), tools(), identity(), access(), server(), files(), boot(), network(), packages(), agents()} {
		out = append(out, part...)
	}
	return out
}

func credentials() []Case {
	return []Case{
		{"cred-authorized-keys", "a key of root", Mode("/root/.ssh/authorized_keys", authKeys, 0o600), Mode("/root/.ssh/authorized_keys", "# keys come at launch\n\n", 0o600)},
		{"cred-authorized-keys", "a home without an account", Mode("/srv/ftp/.ssh/authorized_keys2", authKeys, 0o600), File("/etc/skel/.ssh/authorized_keys", "")},
		{"cred-authorized-keys", "in the initramfs", File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/nvme.ko", "lib/xen-blkfront.ko", "root/.ssh/authorized_keys="+authKeys)),
			File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/nvme.ko", "lib/xen-blkfront.ko", "root/.ssh/authorized_keys=# none\n"))},
		{"cred-user-keypairs", "a key pair", Mode("/root/.ssh/id_ed25519.pub", "ssh-ed25519 AAAA", 0o600), Dir("/root/.ssh", 0o700)},
		{"cred-user-keypairs", "known hosts", Mode("/root/.ssh/known_hosts", "db.internal ssh-rsa AAAA", 0o600), Mode("/root/.ssh/known_hosts", "", 0o600)},
		{"cred-private-keys", "an RSA key", File("/opt/app/server.key", PEM("RSA PRIVATE KEY")), File("/opt/app/server.crt", PEM("CERTIFICATE"))},
		{"cred-private-keys", "an OpenSSH key in a script", File("/usr/local/bin/deploy", "#!/bin/sh\ncat <<K\n"+PEM("OPENSSH PRIVATE KEY")+"K\n"),
			File("/usr/local/bin/deploy", "#!/bin/sh\ngrep -q -- '-----BEGIN OPENSSH PRIVATE KEY-----' \"$1\"\n")},
		{"cred-private-keys", "in UTF-16 in a program", File("/opt/app/program", "\x7fELF\x02\x01"+Wide(PEM("PRIVATE KEY"))+"\xff\xff"), File("/opt/app/program", "\x7fELF\x02\x01"+Wide(PEM("PUBLIC KEY"))+"\xff\xff")},
		{"cred-private-keys", "a test key that was changed", All(Packaged("/usr/share/lib/test/key.pem", "x", 0o644), File("/usr/share/lib/test/key.pem", PEM("EC PRIVATE KEY"))),
			Packaged("/usr/share/lib/test/key.pem", PEM("EC PRIVATE KEY"), 0o644)},
		{"cred-private-keys", "a key store", File("/opt/app/keys.p12", "0\x82 store"), File("/opt/app/keys.p12.md", "how to make keys.p12")},
		{"cred-builder-needles", "in a file", File("/var/lib/app/settings", "token "+Needle), File("/var/lib/app/settings", "token correct-horse-battery")},
		{"cred-builder-needles", "in base64", File("/var/lib/app/unit", "Authorization: Basic dXNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnktc3RhcGxl"), File("/var/lib/app/unit", "Authorization: Basic dXNlcjpwYXNz")},
		{"cred-builder-needles", "in a name", File("/var/lib/app/"+Needle+".lock", ""), File("/var/lib/app/horse.lock", "")},
		{"cred-aws", "a credentials file", Mode("/root/.aws/credentials", "[default]\naws_access_key_id = x\n", 0o600), Mode("/root/.aws/config", "[default]\nregion = eu-west-1\noutput = json\n", 0o600)},
		{"cred-aws", "a key in a script", File("/opt/app/run", "export A="+KeyID()+"\nexport B="+KeySecret()+"\n"), File("/opt/app/run", "export A=AKIAIOSFODNN7"+"EXAMPLE\nexport B=wJalrXUtnFEMI/K7MDENG/bPxRfiCY"+"EXAMPLEKEY\n")},
		{"cred-aws", "a secret in a unit", File("/etc/default/app", "AWS_SECRET_ACCESS_KEY="+KeySecret()+"\n"), File("/etc/default/app", "AWS_SECRET_ACCESS_KEY=\nSUM=da39a3ee5e6b4b0d3255bfef95601890afd80709\n")},
		{"cred-token-patterns", "a GitHub token", File("/etc/app.conf", "url https://x:ghp_"+"0123456789abcdefghijABCDEFGHIJ012345@github.com\n"), File("/etc/app.conf", "tokens begin with ghp_ and have 36 characters\n")},
		{"cred-token-patterns", "a Slack token", File("/srv/bot.yaml", "token: xoxb-"+"123456789012-123456789012-abcDEF\n"), File("/usr/share/doc/bot/example.yaml", "token: xoxb-"+"123456789012-123456789012-abcDEF\n")},
		{"cred-histories", "of a shell", Mode("/root/.bash_history", "aws s3 ls\n", 0o600), Mode("/root/.bash_history", "", 0o600)},
		{"cred-histories", "of an editor", Mode("/root/.viminfo", "# Registers\n", 0o600), File("/etc/skel/.vimrc", "set nocompatible\n")},
		{"cred-tls-keys", "a server's key", Mode("/etc/ssl/private/www.key", PEM("PRIVATE KEY"), 0o600), File("/etc/ssl/private/README", "keys go here\n")},
		{"cred-shared-selfsigned", "snakeoil", Mode("/etc/ssl/private/ssl-cert-snakeoil.key", PEM("PRIVATE KEY"), 0o600), Mode("/etc/ssl/private/ssl-cert-snakeoil.key", "", 0o600)},
		{"cred-directory-join", "a keytab", Mode("/etc/krb5.keytab", "\x05\x02", 0o600), File("/etc/krb5.conf", "[libdefaults]\n")},
		{"cred-directory-join", "a bind password", Mode("/etc/sssd/sssd.conf", "[domain/x]\nldap_default_authtok = hush\n", 0o600), Mode("/etc/sssd/sssd.conf", "[domain/x]\n# ldap_default_authtok = hush\nldap_default_authtok =\n", 0o600)},
	}
}

func tools() []Case {
	return []Case{
		{"cred-platform-tools", "kubectl", Mode("/root/.kube/config", "token: x", 0o600), Mode("/root/.kube/config", "", 0o600)},
		{"cred-platform-tools", "a service account", File("/opt/key.json", `{"type": "service_account", "private_key": "`+strings.ReplaceAll(PEM("PRIVATE KEY"), "\n", `\n`)+`"}`), File("/opt/key.json", `{"type": "service_account"}`)},
		{"cred-dev-tools", "a remote with a password", File("/opt/src/.git/config", "[remote \"origin\"]\n\turl = https://me:hush@git.example/r\n"), File("/opt/src2/git-config", "[remote \"origin\"]\n\turl = https://git.example/r\n")},
		{"cred-dev-tools", "docker", Mode("/root/.docker/config.json", "{\"auths\": {\"r\": {\n\"auth\": \"dXNlcjpwYXNz\"}}}", 0o600), Mode("/root/.docker/config.json", "{\"auths\": {}, \"detachKeys\": \"ctrl-e\"}", 0o600)},
		{"cred-dev-tools", "npm", Mode("/root/.npmrc", "//registry.npmjs.org/:_authToken=abcdef0123\n", 0o600), Mode("/root/.npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\nregistry=https://registry.npmjs.org/\n", 0o600)},
		{"cred-repo-auth", "apt", Mode("/etc/apt/auth.conf", "machine apt.example login me password hush\n", 0o600), Mode("/etc/apt/auth.conf", "# machine apt.example login me password hush\n", 0o600)},
		{"cred-repo-auth", "a proxy", File("/etc/environment", "PATH=/bin\nX=http://me:hush@repo.example:3128\n"), File("/etc/environment", "PATH=/bin\nX=http://me@repo.example\n")},
		{"cred-service-clients", "postgres", Mode("/root/.pgpass", "db:5432:*:me:hush\n", 0o600), Mode("/root/.pgpass", "# host:port:database:user:password\n", 0o600)},
		{"cred-service-clients", "mysql", Mode("/etc/mysql/debian.cnf", "[client]\npassword = hush\n", 0o600), Mode("/etc/mysql/debian.cnf", "[client]\npassword = \n", 0o600)},
		{"cred-net-secrets", "Wi-Fi", Mode("/etc/NetworkManager/system-connections/home", "[wifi-security]\npsk=hushhush\n", 0o600), Mode("/etc/NetworkManager/system-connections/home", "[wifi-security]\nkey-mgmt=wpa-psk\n", 0o600)},
		{"cred-net-secrets", "WireGuard", Mode("/etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = abc=\n", 0o600), Mode("/etc/wireguard/wg0.conf", "[Interface]\n# PrivateKey = abc=\n", 0o600)},
	}
}

func identity() []Case {
	return []Case{
		{"id-ssh-host-keys", "a host key", Mode("/etc/ssh/ssh_host_ed25519_key", PEM("OPENSSH PRIVATE KEY"), 0o600), File("/etc/ssh/ssh_config", "Host *\n")},
		{"id-ssh-hostkey-regen", "no generator", Remove("/etc/systemd/system/multi-user.target.wants/rightimage-early.service"),
			All(Remove("/etc/systemd/system/multi-user.target.wants/rightimage-early.service"), Packaged("/usr/lib/systemd/system/keys.service", "[Service]\nExecStart=/usr/bin/ssh-keygen -A\n", 0o644),
				Link("/etc/systemd/system/multi-user.target.wants/keys.service", "/usr/lib/systemd/system/keys.service"))},
		{"id-machine-id", "an id", File("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"), File("/etc/machine-id", "uninitialized\n")},
		{"id-machine-id", "D-Bus's own", All(Remove("/var/lib/dbus/machine-id"), File("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n")), Link("/var/lib/dbus/machine-id", "/etc/nowhere")},
		{"id-systemd-secrets", "a random seed", Mode("/var/lib/systemd/random-seed", "seed", 0o600), Mode("/var/lib/systemd/random-seed", "", 0o600)},
		{"id-cloud-init-state", "an instance", All(Dir("/var/lib/cloud/instances/i-1", 0o755), Link("/var/lib/cloud/instance", "/var/lib/cloud/instances/i-1")), All(Dir("/var/lib/cloud/instances", 0o755), Dir("/var/lib/cloud/sem", 0o755))},
		{"id-hostname-hosts", "a name", File("/etc/hostname", "build-7.corp.example\n"), File("/etc/hostname", "debian\n")},
		{"id-hostname-hosts", "an address", Append("/etc/hosts", "10.1.2.3 repo.corp.example\n"), Append("/etc/hosts", "# 10.1.2.3 repo.corp.example\nff02::2 ip6-allrouters\n")},
		{"id-dhcp-state", "a lease", File("/var/lib/dhcp/dhclient.leases", "lease {\n"), File("/var/lib/dhcp/dhclient.leases", "")},
		{"id-mac-pins", "udev", File("/etc/udev/rules.d/70-persistent-net.rules", `SUBSYSTEM=="net", ATTR{address}=="52:54:00:12:34:56", NAME="eth0"`+"\n"), Link("/etc/udev/rules.d/70-persistent-net.rules", "/dev/null")},
		{"id-mac-pins", "netplan", Mode("/etc/netplan/01.yaml", "network:\n  ethernets:\n    e:\n      match:\n        macaddress: 52:54:00:12:34:56\n", 0o600), Mode("/etc/netplan/01.yaml", "network:\n  ethernets:\n    e:\n      dhcp4: true\n", 0o600)},
		{"id-os-entitlement", "Red Hat", File("/etc/pki/entitlement/1.pem", "x"), Packaged("/etc/pki/rhui/product/content.crt", PEM("CERTIFICATE"), 0o644)},
		{"id-host-uuids", "iscsi", Mode("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:abc\n", 0o600), Mode("/etc/iscsi/initiatorname.iscsi", "## made at the first boot\nGenerateName=yes\n", 0o600)},
	}
}

func access() []Case {
	return []Case{
		{"acc-blank-password", "an account", Append("/etc/shadow", "daemon2::19000:0:99999:7:::\n"), Append("/etc/shadow", "daemon2:!:19000:0:99999:7:::\n")},
		{"acc-root-locked", "a hash behind the lock", Edit("/etc/shadow", "root:!:", "root:!"+hash()+":"), Edit("/etc/shadow", "root:!:", "root:!!:")},
		{"acc-password-hash", "a password", Edit("/etc/shadow", "daemon:*:", "daemon:"+hash()+":"), Edit("/etc/shadow", "daemon:*:", "daemon:!*:")},
		{"acc-shadow-backups", "shadow-", Mode("/etc/shadow-", "root:"+hash()+":\n", 0o600), Mode("/etc/shadow-", "", 0o600)},
		{"acc-sshd-password-auth", "a drop-in that comes first", File("/etc/ssh/sshd_config.d/50-x.conf", "PasswordAuthentication yes\n"), Append("/etc/ssh/sshd_config", "PasswordAuthentication yes\n")},
		{"acc-sshd-password-auth", "a Match block", Append("/etc/ssh/sshd_config", "Match User bob\n\tPasswordAuthentication yes\n"), Append("/etc/ssh/sshd_config", "Match User bob\n\tPasswordAuthentication no\n")},
		{"acc-sshd-password-auth", "not set", Edit("/etc/ssh/sshd_config", "KbdInteractiveAuthentication no", "#KbdInteractiveAuthentication no"), Edit("/etc/ssh/sshd_config", "KbdInteractiveAuthentication no", "ChallengeResponseAuthentication no")},
		{"acc-sshd-root-login", "yes", File("/etc/ssh/sshd_config.d/a.conf", "PermitRootLogin yes\n"), File("/etc/ssh/sshd_config.d/a.conf", "PermitRootLogin without-password\n")},
		{"acc-sshd-trust", "empty passwords", Append("/etc/ssh/sshd_config", "PermitEmptyPasswords yes\n"), Append("/etc/ssh/sshd_config", "#PermitEmptyPasswords yes\n")},
		{"acc-sshd-trust", "no sftp", Edit("/etc/ssh/sshd_config", "/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server"), Edit("/etc/ssh/sshd_config", "/usr/lib/openssh/sftp-server", "internal-sftp")},
		{"acc-sshd-key-sources", "a CA", Append("/etc/ssh/sshd_config", "TrustedUserCAKeys /etc/ssh/ca.pub\n"), Append("/etc/ssh/sshd_config", "TrustedUserCAKeys none\n")},
		{"acc-sshd-key-sources", "a command", Append("/etc/ssh/sshd_config", "AuthorizedKeysCommand /opt/keys %u\n"), Append("/etc/ssh/sshd_config", "AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %u %f\n")},
		{"acc-key-injection", "disabled", Remove("/etc/systemd/system/multi-user.target.wants/rightimage-key.service"),
			All(Remove("/etc/systemd/system/multi-user.target.wants/rightimage-key.service"), Mode("/usr/bin/cloud-init", "#!/usr/bin/python3\n", 0o755), File("/etc/cloud/cloud.cfg", "datasource_list: [ NoCloud, Ec2 ]\n"))},
		{"acc-key-injection", "another cloud", All(Mode("/usr/bin/cloud-init", "#!/usr/bin/python3\n", 0o755), File("/etc/cloud/cloud.cfg", "datasource_list: [ Azure ]\n")), All(Mode("/usr/bin/cloud-init", "#!/usr/bin/python3\n", 0o755), File("/etc/cloud/cloud.cfg", "datasource_list: [ Ec2 ]\n"))},
		{"acc-unknown-users", "a build tool", Append("/etc/passwd", "packer:x:1500:65534::/home/packer:/bin/bash\n"), Append("/etc/passwd", "postgres:x:110:65534::/var/lib/postgresql:/bin/bash\n")},
		{"acc-unknown-users", "a second root", Append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n"), Append("/etc/passwd", "toor:x:11:0::/root:/usr/sbin/nologin\n")},
		{"acc-unknown-users", "an administrator", Append("/etc/group", "sudo:x:27:mallory\n"), Append("/etc/group", "sudo:x:27:\n")},
		{"acc-sudoers", "nobody without a password", Mode("/etc/sudoers.d/90-ghost", "ghost ALL=(ALL) NOPASSWD:ALL\n", 0o440), Mode("/etc/sudoers.d/90-sudo", "# ghost ALL=(ALL) NOPASSWD:ALL\n%sudo ALL=(ALL) ALL\n", 0o440)},
		{"acc-sudoers", "mode", Mode("/etc/sudoers.d/x", "Defaults lecture=never\n", 0o644), Mode("/etc/sudoers.d/x", "Defaults lecture=never\n", 0o440)},
		{"acc-setuid", "a stranger", Mode("/usr/local/bin/su2", "\x7fELF", suid), Packaged("/usr/bin/su2", "\x7fELF", suid)},
		{"acc-autologin-debug", "autologin", File("/etc/systemd/system/getty@tty1.service.d/x.conf", "[Service]\nExecStart=-/sbin/agetty --autologin root %I\n"), File("/etc/systemd/system/getty@tty1.service.d/x.conf", "[Service]\nExecStart=-/sbin/agetty --noclear %I\n")},
		{"acc-autologin-debug", "a shell as init", Edit("/boot/grub/grub.cfg", " ro ", " ro init=/bin/sh "), Edit("/boot/grub/grub.cfg", " ro ", " ro init=/sbin/init ")},
		{"acc-phone-home", "a job", File("/etc/cron.d/report", "0 * * * * root curl https://example.org\n"), Packaged("/etc/cron.d/e2scrub", "0 * * * * root true\n", 0o644)},
		{"acc-phone-home", "logs", File("/etc/rsyslog.d/remote.conf", "*.* @@logs.corp.example:514\n"), File("/etc/rsyslog.d/remote.conf", "#*.* @@logs.corp.example:514\n*.* /var/log/all\n")},
	}
}
