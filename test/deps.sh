#!/bin/sh
# Installs the Debian packages that "make demo" uses, and with the word "test"
# those of "make test". Does nothing, and asks for no password, when all of them
# are there.
set -eu

# What the demo needs, and what only tests need.
packages="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs xfsprogs fdisk grub-pc-bin grub-common util-linux mount
openssh-client sudo ca-certificates"
if [ "${1:-}" = test ]; then
	packages="$packages gcc libc6-dev awscli ruby python3 zsh ksh busybox rpm qemu-user-static openssl chromium postgresql
	fish groff-base gpg iproute2 curl"
fi

missing=
for package in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
	case $status in
	ii*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "deps.sh: these packages are missing:$missing" >&2
		echo "deps.sh: install them as root, or install sudo and run again" >&2
		exit 1
	}
	as_root=sudo
fi
echo "installing:$missing"
$as_root apt-get -q update
# shellcheck disable=SC2086 # the list is meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
