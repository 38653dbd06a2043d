#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Checks the release in dist/ as those do who get it: the signature is of these
# checksums, the checksums are of these files, and no file is without one.
# usage: check-dist.sh DIST
set -eu
cd "$1"
die() {
	echo "check-dist.sh: $*" >&2
	exit 1
}
sums=$(echo *_SHA256SUMS)
[ -s "$sums" ] || die "there is no list of checksums in $1"

if [ -s "$sums.sig.key" ]; then # a snapshot's
	GNUPGHOME=$(mktemp -d)
	export GNUPGHOME
	trap 'gpgconf --kill all 2>/dev/null || true; rm -rf "$GNUPGHOME"' EXIT
	gpg --batch --quiet --import "$sums.sig.key"
fi
complaint=$(gpg --batch --verify "$sums.sig" "$sums" 2>&1) || die "$sums.sig is no signature of $sums:
$complaint"

# Published files lie side by side; packages are still in a folder of their own.
while read -r sum name; do
	[ -e "$name" ] || name=packages/$name
	echo "$sum  $name"
done <"$sums" | sha256sum --check --quiet --strict || die "$sums is not of these files"
for file in *.zip *.tar.gz *.cdx.json packages/*; do
	grep -q "  ${file##*/}\$" "$sums" || die "$file is not in $sums"
done
echo "$(wc -l <"$sums") files agree with $sums and its signature"
