#!/bin/bash
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0
#
# Builds a minimal Debian 12 disk that boots by BIOS from its own GRUB:
#
#   example/base/build.sh OUTPUT.raw [SIZE]
#
# SIZE is what truncate(1) takes, 2G unless told. Needs root, and asks sudo for
# it when it is not. No loop device, mount or device mapper is used: the file
# system is filled by mke2fs, the boot loader is written by offset. So it works
# in a container too, and a kill leaves nothing but a temporary folder, which
# the trap removes.
#
# BASE_INIT   systemd (the default), sysvinit or openrc
# BASE_CACHE  folder for downloaded packages (default: none is kept)
# BASE_MIRROR a Debian mirror (default: the host's own for Debian 12, else mmdebstrap's)
set -eu

die() { echo "build.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: build.sh OUTPUT.raw [SIZE]"
output=$1 size=${2:-2G}
here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
init=${BASE_INIT:-systemd}
case $init in
systemd | sysvinit | openrc) ;;
*) die "BASE_INIT is \"$init\": use systemd, sysvinit or openrc" ;;
esac

if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || die "needs root: run it as root, or install sudo"
	exec sudo -- env "BASE_INIT=$init" "BASE_CACHE=${BASE_CACHE:-}" "BASE_MIRROR=${BASE_MIRROR:-}" "SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-}" \
		"TMPDIR=${TMPDIR:-/tmp}" bash "$here/$(basename "$0")" "$@"
fi

PATH=$PATH:/usr/sbin:/sbin
grub=/usr/lib/grub/i386-pc
missing=
for pair in mmdebstrap:mmdebstrap grub-mkimage:grub-common mke2fs:e2fsprogs sfdisk:fdisk; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -e "$grub/boot.img" ] || missing="$missing grub-pc-bin"
[ -z "$missing" ] || die "missing programs: apt-get install$missing"

# --- work folder, always removed ---------------------------------------------
work=$(mktemp -d "${TMPDIR:-/tmp}/rightimage-base.XXXXXX")
chmod 0755 "$work"
# An interrupted mmdebstrap does not always remove what it has in there.
mkdir -m 1777 "$work/tmp"
export TMPDIR="$work/tmp"
child=
cleanup() {
	code=$?
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "$child" ]; then
		kill -TERM -- "-$child" 2>/dev/null || true
		# mmdebstrap unmounts by itself; one that hangs is killed.
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			kill -0 -- "-$child" 2>/dev/null || break
			sleep 0.5
		done
		kill -KILL -- "-$child" 2>/dev/null || true
	fi
	rm -rf --one-file-system "$work"
	[ "$code" -eq 0 ] || rm -f "$output.part"
	exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# A child in its own process group, so that a signal to this script (which
# bash acts on while it waits) can end all of it.
group() {
	set -m
	"$@" </dev/null &
	child=$!
	set +m
	code=0
	wait "$child" || code=$?
	child=
	return "$code"
}

started=$SECONDS
step() { printf '%4ds  %s\n' "$((SECONDS - started))" "$*" >&2; }

. "$here/recipe.sh"

step "Debian $suite root file system, $init"
root=$work/root
build_root "$root" >"$work/mmdebstrap.log" 2>&1 || { tail -n 30 "$work/mmdebstrap.log" >&2; die "mmdebstrap ended with an error, shown above"; }

step "disk $output, $size"
rm -f "$output.part"
truncate -s "$size" "$output.part"
make_disk "$output.part" "$root"

if [ -n "${SUDO_UID:-}" ]; then
	chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$output.part"
fi
mv -f "$output.part" "$output"
step "done: $(du -h "$output" | cut -f1) used"
