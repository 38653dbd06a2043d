#!/bin/sh
# Fails when a program is larger than test/size.txt allows.
set -eu
go=${GO:-go}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$(dirname "$0")/.."

too_large=0
while read -r name limit; do
	case $name in '' | '#'*) continue ;; esac
	package=./cmd/$name
	[ -d "$package" ] || package=.
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $go build -ldflags '-s -w' -o "$out/$name" "$package"
	size=$(wc -c <"$out/$name")
	printf '%-26s %6.1f MiB of %s\n' "$name" "$(awk "BEGIN { print $size / 1048576 }")" "$limit"
	if [ "$size" -gt $((limit * 1048576)) ]; then
		echo "size.sh: $name has $size bytes, more than the $limit MiB of test/size.txt" >&2
		too_large=1
	fi
	rm "$out/$name"
done <test/size.txt
exit "$too_large"
