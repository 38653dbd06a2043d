#!/bin/sh
# Checks every shell script of the repository.
set -eu
command -v shellcheck >/dev/null || {
	echo "shellcheck.sh: shellcheck is not installed (apt-get install shellcheck)" >&2
	exit 1
}
git ls-files | while read -r file; do
	[ -f "$file" ] || continue
	case $(head -c 32 "$file" | head -n 1) in
	'#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) printf '%s\0' "$file" ;;
	esac
done | xargs -0 -r shellcheck --severity=warning
