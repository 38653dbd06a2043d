// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

// liveChecks are about a machine that was launched from the image to be looked
// at and thrown away. The boot test of builder/publish makes them.
func liveChecks() []*Check {
	return []*Check{
		{
			ID: "live-boot", Class: Boot, Severity: Blocker,
			Pass:   "a machine boots: no panic, no emergency shell, and it does not end by itself",
			Remedy: "read the end of its console; launch the disk in a local cloud (rightimage local) to look closer",
		},
		{
			ID: "live-login", Class: Boot, Severity: Blocker,
			Pass:   "the default user logs in by SSH with the key of the launch, and may become root; with boot_test.connect = \"console\", the console asks for a login",
			Remedy: "check that something enabled puts the launch key in, that the SSH server starts, and boot_test.ssh_username",
		},
		{
			ID: "live-reboot", Class: Boot, Severity: Blocker,
			Pass:   "the machine comes back after a reboot, lets the same key in, and is the same machine: host key and machine id stay",
			Remedy: "look at what the first boot changes: boot loader, initramfs, fstab, keys that are made again at each boot",
		},
		{
			ID: "live-identity", Class: Boot, Severity: Blocker,
			Pass:   "host keys and machine id are the machine's own: made since it booted",
			Remedy: "remove them from the image (rightimage clean), and let the first boot make them",
		},
		{
			ID: "live-bootstrap", Class: Boot, Severity: Blocker,
			Pass:   "where our bootstrap is installed, its stages ran, and none failed (bootstrap status)",
			Remedy: "docs/bootstrap.md, \"When something does not work\"",
		},
		{
			ID: "live-units", Class: Boot, Severity: Warning,
			Pass:   "the boot comes to its end, and no service has failed",
			Remedy: "systemctl status, or rc-status, says why; mask what has no use in the cloud",
		},
		{
			ID: "live-root-grow", Class: Boot, Severity: Warning,
			Pass:   "the root file system fills a volume that is a GiB larger than the image",
			Remedy: "enable growpart in cloud-init, or our bootstrap's stage early",
		},
		{
			ID: "live-mounts", Class: Boot, Severity: Warning,
			Pass:   "nothing is mounted twice on the same directory",
			Remedy: "look for duplicates in fstab and in mount units",
		},
		{
			ID: "live-hostname", Class: Boot, Severity: Warning,
			Pass:   "the machine's name comes from the cloud: it is not localhost",
			Remedy: "let the DHCP client, cloud-init or systemd set the host name",
		},
		{
			ID: "live-clock", Class: Boot, Severity: Warning,
			Pass:   "the clock is right, to within a minute",
			Remedy: "enable a time client with EC2's own source, 169.254.169.123, or a pool",
		},
		{
			ID: "live-services", Class: Boot, Severity: Warning, Public: true,
			Pass:   "nothing but the SSH server listens to other machines (TCP)",
			Remedy: "disable the service, or bind it to the loopback interface",
		},
		{
			ID: "live-sftp", Class: Boot, Severity: Warning,
			Pass:   "files can be copied: the SSH server has the subsystem sftp",
			Remedy: "install the SFTP server and name it in sshd_config",
		},
		{
			ID: "live-libraries", Class: Boot, Severity: Warning,
			Pass:   "the dynamic linker's paths and the kernel's modules are in order (ldconfig, modprobe)",
			Remedy: "run ldconfig and depmod in the image",
		},
	}
}
