#!/bin/sh
# Prints every path of the root file system with type, mode, owner, size or
# target, and content hash. Left out: what a package manager keeps for itself,
# logs, caches, and what is not part of the disk.
set -eu
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
	-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \) -prune \
	-o \( -type f -printf '%p f %m %u:%g %s ' -exec sha256sum {} \; \
	-o -type l -printf '%p l %u:%g %l\n' \
	-o -printf '%p %y %m %u:%g\n' \) | sed 's/  .*//' | sort
dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Abbrev}\n'
