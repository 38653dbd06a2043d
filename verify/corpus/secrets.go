// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus

import (
	"encoding/base64"
	"strings"
)

// The secrets of the corpus are made up, and put together here so that no tool
// takes this file for a leak.

// KeyID is the access key id of an AWS key that never was.
func KeyID() string { return "AKI" + "AQ3EGRTZ7PLMN2XYW" }

// KeySecret is the secret access key of KeyID.
func KeySecret() string { return "9dK2+mXq7Lw/RtZp4VbHs1YcNf8" + "JgA3uEo6iTkQz" }

// Needle is a secret of the build.
const Needle = "correct-horse-battery-staple"

// PEM is a text that looks like a key, or a certificate, of that label.
func PEM(label string) string {
	raw := make([]byte, 600)
	for i := range raw {
		raw[i] = byte(i*i*31 + i*7 + 13)
	}
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.WriteString("-----BEGIN " + label + "-----\n")
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	return b.String() + text + "\n-----END " + label + "-----\n"
}

// Wide is a text in UTF-16LE.
func Wide(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(string(rune(c)) + "\x00")
	}
	return b.String()
}

// hash is a password hash.
func hash() string { return "$6$" + "saltsalt$" + strings.Repeat("abcdefghij", 8) + "klmnop" }
