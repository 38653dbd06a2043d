#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Writes the bill of materials of one of our programs, from what the Go linker
# wrote into it. usage: sbom.sh PROGRAM DOCUMENT
set -eu
tool=${RIGHTIMAGE_CACHE:-$(dirname "$0")/../../.cache}/bin/cyclonedx-gomod
[ -x "$tool" ] || {
	echo "sbom.sh: $tool is missing; run \"make release-tools\"" >&2
	exit 1
}
# No serial number: the same program has the same document.
exec "$tool" bin -json -noserial -output "$2" "$1"
