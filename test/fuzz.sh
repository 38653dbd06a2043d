#!/bin/sh
# Runs every fuzz target of the module for the given time each, one after
# another, and stops at the first finding. usage: fuzz.sh TIME
set -eu
time=${1:-60s}
go=${GO:-go}
grep -rlE '^func Fuzz[A-Za-z0-9_]+\(' --include='*_test.go' . | sort | while read -r file; do
	package=./$(dirname "${file#./}")
	sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file" | while read -r target; do
		echo "== $package $target ($time)"
		$go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done || exit 1
done
