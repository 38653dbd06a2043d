#!/bin/bash
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0
#
# Runs on the build host after the packages are in: customize.sh FILES ROOT INIT
set -eu
files=$1 root=$2 init=$3

put() { install -D -m "$3" "$files/$1" "$root$2"; }

boot_with_systemd() {
	put grub.cfg /boot/grub/grub.cfg 0644
	put 20-dhcp.network /etc/systemd/network/20-dhcp.network 0644
	put wait-online.conf /etc/systemd/system/systemd-networkd-wait-online.service.d/10-any.conf 0644
	put timeouts.conf /etc/systemd/system.conf.d/10-timeouts.conf 0644
	put resolved.conf /etc/systemd/resolved.conf.d/10-no-neighbours.conf 0644

	chroot "$root" systemctl --quiet enable systemd-networkd systemd-networkd-wait-online systemd-resolved
	# The boot need not wait for name resolution: only what needs the network does.
	rm "$root/etc/systemd/system/sysinit.target.wants/systemd-resolved.service"
	chroot "$root" systemctl --quiet add-wants multi-user.target systemd-resolved.service
	# No screen: the serial console has the login. No downloads by themselves. No
	# LVM, for which alone the e2scrub units are.
	chroot "$root" systemctl --quiet mask getty@tty1.service apt-daily.timer apt-daily-upgrade.timer \
		e2scrub_all.timer e2scrub_reap.service
	ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
}

boot_with_sysvinit() {
	# One well known name for the first network interface.
	put grub.cfg /boot/grub/grub.cfg 0644
	sed -i 's/ console=tty0/ net.ifnames=0&/' "$root/boot/grub/grub.cfg"
	put interfaces /etc/network/interfaces 0644
	put acpi-power /etc/acpi/events/power 0644
	# No screen: the serial console has the login.
	sed -i '/^[1-6]:.*getty/d' "$root/etc/inittab"
	echo 'S0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100' >>"$root/etc/inittab"
	# Nobody is there to answer a question of fsck.
	sed -i 's/^#\?FSCKFIX=.*/FSCKFIX=yes/' "$root/etc/default/rcS"
	: >"$root/etc/resolv.conf" # dhclient fills it
}

boot_with_openrc() { boot_with_sysvinit; }

put fstab /etc/fstab 0644
"boot_with_$init"
chroot "$root" passwd --quiet --lock root

echo localhost >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"

# What must differ on each machine is made on its first boot.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/dpkg/dpkg.cfg.d/zz-build"
rm -rf "$root/var/lib/systemd/random-seed" "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/cache/apt/*.bin
