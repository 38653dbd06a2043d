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
paths -type f ! -path '/etc/init.d/.depend.*' -print0 | sort -z | xargs -0 sha256sum
# insserv keeps what it found out in files whose order is that of the directory
# just then; compared is what they say.
for f in /etc/init.d/.depend.*; do
	[ ! -e "$f" ] || awk -v f="$f" '{ for (i = 1; i <= NF; i++) print f, $1, $i }' "$f" | sort
done
# shellcheck disable=SC2016 # dpkg-query expands these
dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Abbrev}\n'
