#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Fails when the programs would call themselves something else than the release
# does. usage: check-version.sh VERSION
set -eu
own=$(cat "$(dirname "$0")/../../version/VERSION")
[ "$own" = "$1" ] || {
	echo "check-version.sh: version/VERSION is $own and the tag v$1; write $1 into the file and tag that commit" >&2
	exit 1
}
