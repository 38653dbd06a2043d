#!/bin/sh
# Fetches the Debian packages that the two ServerTemplates carry as attachments,
# so that the servers they make need no package mirror of their own.
#
# usage: fetch-packages.sh [CACHE-DIR]
#
# Run it on Debian 12, or with a sources.list of Debian 12. Packages already in
# CACHE-DIR (default: ./.packages beside this script) are not fetched again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-$here/.packages}
mkdir -p "$cache"

# fetch TEMPLATE PACKAGE...: puts PACKAGE.deb into TEMPLATE/attachments.
fetch() {
	template=$1
	shift
	mkdir -p "$here/$template/attachments"
	for package; do
		if [ ! -s "$cache/$package.deb" ]; then
			work=$(mktemp -d "$cache/.fetch-XXXXXX")
			# apt's sandbox user cannot write into a private directory.
			(cd "$work" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" >/dev/null) || {
				rm -rf "$work"
				echo "fetch-packages.sh: cannot download $package; run 'apt-get update' first" >&2
				exit 1
			}
			mv "$work"/*.deb "$cache/$package.deb"
			rm -rf "$work"
		fi
		cp "$cache/$package.deb" "$here/$template/attachments/$package.deb"
	done
}

fetch database redis-server redis-tools libjemalloc2 liblzf1 libatomic1
fetch webapp mini-httpd
