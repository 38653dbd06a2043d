#!/bin/sh
# Fails when a committed generated file differs from what its generator writes.
# Compares checksums before and after, so it works in a dirty tree as well.
set -eu
go=${GO:-go}

generated() {
	{
		git ls-files -z -- '*.hcl2spec.go' 'cmd/*/*.md' docs docs-partials .web-docs internal/manual/pages 2>/dev/null
	} | sort -z | xargs -0 -r sha256sum
}

before=$(generated)
$go generate ./... >/dev/null
after=$(generated)
if [ "$before" != "$after" ]; then
	echo "generated files are stale; run 'make generate' and commit:" >&2
	printf '%s\n%s\n' "$before" "$after" | sort | uniq -u | awk '{print "  " $2}' | sort -u >&2
	exit 1
fi
