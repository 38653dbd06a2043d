#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Signs a file with the key that GPG_FINGERPRINT names. A snapshot may do without:
# its key is made for it alone, and lies beside the signature.
# usage: sign.sh SNAPSHOT FILE SIGNATURE    SNAPSHOT is true or false
set -eu
snapshot=$1 file=$2 signature=$3
sign() { gpg --batch --yes --local-user "$1" --output "$signature" --detach-sign "$file"; }

if [ -n "${GPG_FINGERPRINT:-}" ]; then
	sign "$GPG_FINGERPRINT"
	exit
fi
[ "$snapshot" = true ] || {
	echo "sign.sh: GPG_FINGERPRINT is not set; give the fingerprint of the release key, which gpg must have" >&2
	exit 1
}
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all 2>/dev/null || true; rm -rf "$GNUPGHOME"' EXIT
user='throw-away key of a snapshot'
gpg --batch --quiet --passphrase '' --quick-generate-key "$user" ed25519 sign 1d
sign "$user"
gpg --batch --yes --armor --output "$signature.key" --export "$user"
