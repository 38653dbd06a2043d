# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash disable=SC2154
#
# What is on the disk; sourced by build.sh, which checks, logs and cleans up.

packages="linux-image-cloud-amd64 zstd systemd-sysv udev dbus libpam-systemd systemd-resolved systemd-timesyncd libnss-myhostname
	openssh-server ca-certificates sudo bash e2fsprogs iproute2 netbase procps"
if [ "$init" != systemd ]; then
	# With both, process 1 is sysvinit's; what it starts the services with differs.
	starter=sysv-rc
	[ "$init" = sysvinit ] || starter=openrc
	packages="linux-image-cloud-amd64 zstd sysvinit-core $starter initscripts orphan-sysvinit-scripts udev
		ifupdown isc-dhcp-client inetutils-syslogd acpid chrony
		openssh-server ca-certificates sudo bash e2fsprogs iproute2 netbase procps"
fi

# The host's own sources when it is a Debian of this suite (they may name a
# mirror that is near); else nothing, and mmdebstrap takes the public ones.
sources() {
	if [ -n "${BASE_MIRROR:-}" ]; then
		echo "deb $BASE_MIRROR $suite main"
		return
	fi
	host=$(. /etc/os-release && echo "${ID:-}:${VERSION_CODENAME:-}")
	[ "$host" = "debian:$suite" ] || return 0
	# indextargets prints what apt really uses, whichever file says so.
	mirror=$(host_mirror "$suite") security=$(host_mirror "$suite-security")
	[ -n "$mirror" ] && [ -n "$security" ] || return 0
	echo "deb $mirror $suite main"
	echo "deb $mirror $suite-updates main"
	echo "deb $security $suite-security main"
}

host_mirror() {
	apt-get indextargets --format '$(SITE)' "Codename: $1" 'Origin: Debian' 2>/dev/null | head -n 1
}

build_root() {
	set -- "$1" --mode=root --variant=minbase --format=directory --include="$(echo $packages | tr ' ' ',')" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--setup-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/dpkg/dpkg.cfg.d"' \
		--setup-hook="cp -- '$here/files/initramfs-modules' \"\$1/etc/initramfs-tools/modules\"" \
		--setup-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/rightimage"' \
		--setup-hook='echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/zz-build"' \
		--customize-hook="bash '$here/customize.sh' '$here/files' \"\$1\" $init"
	if [ -n "${BASE_CACHE:-}" ]; then
		mkdir -p "$BASE_CACHE"
		set -- "$@" --skip=essential/unlink \
			--setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
			--setup-hook="sync-in '$BASE_CACHE' /var/cache/apt/archives/" \
			--customize-hook="sync-out /var/cache/apt/archives '$BASE_CACHE'"
	fi
	target=$1
	shift
	sources >"$work/sources.list"
	set -- "$@" "$suite" "$target"
	[ ! -s "$work/sources.list" ] || set -- "$@" "$work/sources.list"
	group mmdebstrap "$@"
}

# GPT: the boot loader's own partition, then the root file system as the last
# one, so that it can grow with the disk.
make_disk() {
	sfdisk --quiet "$1" <<-TABLE
		label: gpt
		start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios
		start=4096, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
	TABLE
	sectors=$(sfdisk --dump "$1" | sed -n 's/.*start= *4096, size= *\([0-9]*\).*/\1/p')
	[ -n "$sectors" ] || die "no root partition in the new table of $1"
	# Features that GRUB 2.06 cannot read are left out.
	group mke2fs -q -t ext4 -L root -m 1 -O '^metadata_csum_seed,^orphan_file' \
		-E "offset=$((4096 * 512)),lazy_itable_init=1" -d "$2" "$1" "$((sectors / 2))k"
	install_grub "$1"
}

# What grub-install does for i386-pc, without needing a device: boot.img into
# the first sector, core.img into the bios partition, and the two sector
# numbers by which each finds the next part.
install_grub() {
	grub-mkimage -O i386-pc -d "$grub" -p '(,gpt2)/boot/grub' -o "$work/core.img" \
		biosdisk part_gpt ext2 search search_label search_fs_uuid normal configfile linux minicmd \
		echo test true ls cat reboot halt serial terminal gzio
	[ "$(stat -c %s "$work/core.img")" -le $((2048 * 512)) ] || die "GRUB's core does not fit its partition"
	cp "$grub/boot.img" "$work/boot.img"
	le64 2048 | put "$work/boot.img" 92    # 0x5c: where core.img begins
	le64 2049 | put "$work/core.img" 500   # 0x1f4: where its second sector is
	dd if="$work/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
	dd if="$work/core.img" of="$1" bs=512 seek=2048 conv=notrunc status=none
}

le64() {
	n=$1
	for _ in 1 2 3 4 5 6 7 8; do
		# shellcheck disable=SC2059
		printf "\\x$(printf %02x $((n & 255)))"
		n=$((n >> 8))
	done
}

put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
