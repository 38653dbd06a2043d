// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus

import "io/fs"

func server() []Case {
	return []Case{
		{"acc-services", "telnet", Enabled("telnet.socket"), Packaged("/usr/lib/systemd/system/telnet.socket", "[Socket]\nListenStream=23\n", 0o644)},
		{"acc-services", "docker on the network", File("/etc/docker/daemon.json", "{\"hosts\": [\"tcp://0.0.0.0:2375\"]}"), File("/etc/docker/daemon.json", "{\"hosts\": [\"unix:///run/docker.sock\", \"tcp://127.0.0.1:2375\"]}")},
		{"net-dhcp", "a static address", File("/etc/network/interfaces", "auto eth0\niface eth0 inet static\n\taddress 10.0.0.5\n"), File("/etc/network/interfaces", "auto lo\niface lo inet loopback\n\taddress 127.0.0.1\nauto eth0\niface eth0 inet dhcp\n")},
		{"net-dhcp", "nothing configures", Remove("/etc/systemd/network/20-dhcp.network"), All(Remove("/etc/systemd/network/20-dhcp.network"), Mode("/etc/netplan/x.yaml", "network:\n  ethernets:\n    all:\n      dhcp4: true\n", 0o600))},
	}
}

func files() []Case {
	return []Case{
		{"fs-hidden-volumes", "a container store", File("/var/lib/docker/overlay2/x/diff/etc/passwd", "root"), Dir("/var/lib/docker/overlay2", 0o755)},
		{"fs-modes", "everybody may write", Mode("/etc/app.conf", "x", 0o666), Mode("/etc/app.conf", "x", 0o664)},
		{"fs-modes", "/tmp", Dir("/tmp", 0o777), Dir("/var/spool/shared", fs.ModeSticky|0o777)},
		{"fs-modes", "shadow", Mode("/etc/gshadow", "root:*::\n", 0o644), Mode("/etc/gshadow", "root:*::\n", 0)},
		{"fs-leftovers", "in /tmp", File("/tmp/script_1234.sh", "#!/bin/sh\n"), Dir("/tmp/.X11-unix", fs.ModeSticky|0o777)},
		{"fs-leftovers", "a backup", File("/etc/app.conf.bak", "x"), File("/etc/app.conf.d/backup-policy", "x")},
		{"fs-leftovers", "an editor's copy", File("/etc/profile~", "x"), File("/root/.rightscale/rightlink_1.0_amd64.deb", "x")},
		{"fs-logs-mail", "a log", File("/var/log/syslog", "Jan 1"), File("/var/log/syslog", "")},
		{"fs-logs-mail", "mail", File("/var/mail/root", "From: cron"), File("/var/mail/root", "")},
		{"fs-installer-leftovers", "kickstart", Mode("/root/anaconda-ks.cfg", "rootpw --iscrypted x\n", 0o600), File("/usr/share/doc/anaconda-ks.cfg", "an example\n")},
		{"fs-crash-dumps", "a core", Mode("/srv/app/core.812", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x3e\x00"+string(make([]byte, 100)), 0o600), File("/srv/app/core", string(make([]byte, 100)))},
		{"fs-vcs-trees", "git", Dir("/opt/app/.git", 0o755), File("/opt/app/.gitignore", "*.o\n")},
		{"fs-vcs-trees", "etckeeper", Dir("/etc/.git", 0o700), File("/etc/.gitignore", "x\n")},
		{"fs-selinux-labels", "not labelled", File("/etc/selinux/config", "SELINUX=enforcing\n"), All(File("/etc/selinux/config", "SELINUX=enforcing\n"), File("/.autorelabel", ""))},
		{"fs-swap-files", "used", Mode("/swapfile", swap()+"secret pages", 0o600), Mode("/swapfile", swap(), 0o600)},
		{"fs-fstab-by-id", "a device name", Append("/etc/fstab", "/dev/xvdf /data ext4 defaults,nofail 0 0\n"), Append("/etc/fstab", "/dev/disk/by-label/data /data ext4 defaults,nofail 0 0\ntmpfs /scratch tmpfs size=1g 0 0\n")},
		{"fs-fstab-by-id", "resume", Edit("/boot/grub/grub.cfg", " ro ", " ro resume=/dev/sda3 "), Edit("/boot/grub/grub.cfg", " ro ", " ro resume=UUID=8c0e ")},
		{"fs-fstab-sane", "no newline", Append("/etc/fstab", "LABEL=data /data ext4 nofail 0 0"), Append("/etc/fstab", "LABEL=data /data ext4 nofail 0 0\n")},
		{"fs-fstab-sane", "twice", Append("/etc/fstab", "UUID=1 /data ext4 nofail 0 0\nUUID=2 /data ext4 nofail 0 0\n"), Append("/etc/fstab", "UUID=1 /a btrfs subvol=a 0 0\nUUID=1 /b btrfs subvol=b 0 0\n")},
		{"fs-root-grow", "nothing grows", File("/etc/growroot-disabled", ""), File("/etc/growroot-enabled", "")},
	}
}

// swap is a swap area that was never used.
func swap() string {
	b := make([]byte, 3*4096)
	copy(b[4086:], "SWAPSPACE2")
	return string(b)
}

func boot() []Case {
	modules := "/lib/modules/" + KernelVersion
	return []Case{
		{"boot-kernel-set", "no initramfs", Remove("/boot/initrd.img-" + KernelVersion), File("/boot/vmlinuz.old.txt", "notes\n")},
		{"boot-kernel-set", "a kernel without modules", File("/boot/vmlinuz-6.9.9", "kernel"), All(File("/boot/vmlinuz-6.9.9", "kernel"), File("/boot/initrd.img-6.9.9", Initramfs("nvme.ko", "xen_blkfront.ko")),
			File("/lib/modules/6.9.9/modules.dep", "kernel/nvme.ko:\nkernel/ena.ko:\nkernel/xen-blkfront.ko:\nkernel/xen-netfront.ko:\n"))},
		{"boot-driver-nvme", "not in the initramfs", File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/xen-blkfront.ko")),
			All(File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/xen-blkfront.ko")), Append(modules+"/modules.builtin", "kernel/drivers/nvme/host/nvme.ko\n"))},
		{"boot-driver-ena", "no driver", Edit(modules+"/modules.dep", "amazon/ena/ena.ko", "amazon/eno/eno.ko"), All(Edit(modules+"/modules.dep", "amazon/ena/ena.ko", "amazon/eno/eno.ko"), File("/boot/config-"+KernelVersion, "CONFIG_ENA_ETHERNET=y\n"))},
		{"boot-driver-xen", "not in the initramfs", File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/nvme.ko")), File("/boot/initrd.img-"+KernelVersion, Initramfs("lib/nvme.ko.zst", "lib/xen_blkfront.ko.xz"))},
		{"boot-loader-root", "a device name", Edit("/boot/grub/grub.cfg", "root=LABEL=root", "root=/dev/sda1"), Edit("/boot/grub/grub.cfg", "root=LABEL=root", "root=PARTUUID=1234-01")},
		{"boot-loader-root", "a long wait", Edit("/boot/grub/grub.cfg", "timeout=0", "timeout=30"), Edit("/boot/grub/grub.cfg", "timeout=0", "timeout=5")},
		{"boot-firmware-path", "no removable path", File("/boot/efi/EFI/debian/grubx64.efi", "MZ"), All(File("/boot/efi/EFI/debian/grubx64.efi", "MZ"), File("/boot/efi/EFI/BOOT/BOOTX64.EFI", "MZ"))},
		{"boot-serial-console", "a screen alone", Edit("/boot/grub/grub.cfg", " console=ttyS0,115200n8", ""), Edit("/boot/grub/grub.cfg", " console=ttyS0,115200n8", " console=ttyAMA0")},
	}
}

func network() []Case {
	return []Case{
		{"net-resolv-conf", "a name server", All(Remove("/etc/resolv.conf"), File("/etc/resolv.conf", "nameserver 8.8.8.8\n")), All(Remove("/etc/resolv.conf"), File("/etc/resolv.conf", "# nameserver 8.8.8.8\nnameserver 127.0.0.53\noptions edns0\n"))},
		{"net-time-sync", "a server of the build network", File("/etc/systemd/timesyncd.conf", "[Time]\nNTP=10.0.0.1\n"), File("/etc/systemd/timesyncd.conf", "[Time]\nNTP=169.254.169.123\n")},
		{"net-time-sync", "two clients", Enabled("chrony.service"), Packaged("/usr/lib/systemd/system/chrony.service", "[Service]\n", 0o644)},
		{"net-time-sync", "a zone", Link("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"), Link("/etc/localtime", "../usr/share/zoneinfo/UTC")},
		{"net-imdsv2-clients", "no token", Mode("/usr/local/bin/whoami-ec2", "#!/bin/sh\ncurl http://169.254.169.254/latest/meta-data/instance-id\n", 0o755),
			Mode("/usr/local/bin/whoami-ec2", "#!/bin/sh\nT=$(curl -X PUT http://169.254.169.254/latest/api/token)\ncurl -H \"X-aws-ec2-metadata-token: $T\" http://169.254.169.254/latest/meta-data/instance-id\n", 0o755)},
		{"net-ca-trust", "an added root", File("/usr/local/share/ca-certificates/corp.crt", PEM("CERTIFICATE")), Packaged("/usr/share/ca-certificates/x.crt", PEM("CERTIFICATE"), 0o644)},
		{"net-ca-trust", "no bundle", Remove("/etc/ssl/certs/ca-certificates.crt"), All(Remove("/etc/ssl/certs/ca-certificates.crt"), Link("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/bundle"), File("/etc/pki/bundle", PEM("CERTIFICATE")))},
	}
}

func packages() []Case {
	return []Case{
		{"pkg-os-supported", "too old", Edit("/etc/os-release", `VERSION_ID="12"`, `VERSION_ID="9"`), Edit("/etc/os-release", `VERSION_ID="12"`, `VERSION_ID="13"`)},
		{"pkg-malware", "preload", File("/etc/ld.so.preload", "/usr/lib/libevil.so\n"), File("/etc/ld.so.preload", "# nothing\n")},
		{"pkg-banned", "sendmail", Installed("sendmail", "8"), Installed("msmtp-mta", "1")},
		{"pkg-required", "no SSH server", All(Remove("/usr/sbin/sshd"), Remove("/etc/ssh/sshd_config")), All(Remove("/usr/sbin/sshd"), Remove("/etc/ssh/sshd_config"), Mode("/usr/sbin/dropbear", "\x7fELF", 0o755))},
		{"pkg-repos", "a host of the build network", Append("/etc/apt/sources.list", "deb http://apt.corp.internal/debian bookworm main\n"), Append("/etc/apt/sources.list", "# deb http://apt.corp.internal/debian bookworm main\ndeb https://security.debian.org/debian-security bookworm-security main\n")},
		{"pkg-repos", "frozen", Append("/etc/apt/sources.list", "deb http://snapshot.debian.org/archive/debian/20250101T000000Z bookworm main\n"), Append("/etc/apt/sources.list", "deb http://archive.debian.org/debian bookworm main\n")},
		{"pkg-repos", "not signed", File("/etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://example.org/x\nenabled=1\ngpgcheck=0\n"), File("/etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://example.org/x\nenabled=0\ngpgcheck=0\n")},
		{"pkg-repos", "a proxy", File("/etc/apt/apt.conf.d/01proxy", "Acquire::http::Proxy \"http://10.0.0.1:3142\";\n"), File("/etc/apt/apt.conf.d/01proxy", "// Acquire::http::Proxy \"http://10.0.0.1:3142\";\nAcquire::http::Proxy \"DIRECT\";\n")},
		{"pkg-cache-db", "half-installed", Append("/var/lib/dpkg/status", "Package: broken\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 1\n\n"), Append("/var/lib/dpkg/status", "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n")},
		{"pkg-cache-db", "a cache", File("/var/cache/apt/archives/x_1_amd64.deb", "!<arch>"), Dir("/var/cache/apt/archives/partial", 0o700)},
		{"pkg-redistribution", "a licence", File("/opt/app/server.lic", "serial"), File("/opt/app/LICENSE", "free")},
	}
}

func agents() []Case {
	return []Case{
		{"agent-rightlink", "an identity", Mode("/var/lib/rightscale-identity", "api_hostname='x'\n", 0o600), File("/etc/rightscale.d/rightimage-release.js", "{}\n")},
		{"agent-rightlink", "user-data", Mode("/var/spool/cloud/user-data.txt", "RS_server=x\n", 0o600), Dir("/var/spool/cloud", 0o700)},
		{"agent-ssm", "registered", Mode("/var/lib/amazon/ssm/Vault/Store/RegistrationKey", "x", 0o600), File("/etc/amazon/ssm/amazon-ssm-agent.json.template", "{}")},
		{"agent-aws-other", "ECS", File("/etc/ecs/ecs.config", "ECS_CLUSTER=prod\n"), File("/etc/ecs/ecs.config", "ECS_CLUSTER=\nECS_LOGLEVEL=warn\n")},
		{"agent-third-party", "Chef", Mode("/etc/chef/client.pem", PEM("RSA PRIVATE KEY"), 0o600), File("/etc/chef/client.rb", "log_level :info\n")},
		{"agent-third-party", "Datadog", File("/etc/datadog-agent/datadog.yaml", "api_key: 0123456789abcdef\n"), File("/etc/datadog-agent/datadog.yaml", "# api_key: 0123456789abcdef\napi_key:\n")},
	}
}
