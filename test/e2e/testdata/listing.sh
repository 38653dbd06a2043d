#!/bin/sh
# Prints every path of the root file system with type, mode, owner and target,
# the hash of every file, and the installed packages. Left out: what a package
# manager keeps for itself, logs, caches, and what is not part of the disk.
set -eu
paths() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
		-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \) -prune -o "$@"
}
paths -printf '%p %y %m %u:%g %l\n' | sort
paths -type f -print0 | sort -z | xargs -0 sha256sum
# shellcheck disable=SC2016 # dpkg-query expands these
dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Abbrev}\n'
