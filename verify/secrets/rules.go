// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package secrets

import (
	"bytes"
)

// token takes a prefix with least to most characters of a set behind it; most 0
// is no limit.
func token(prefix, chars string, least, most int) func([]byte, int) (ok, weak bool) {
	return func(text []byte, at int) (bool, bool) {
		if !starts(text, at) {
			return false, false
		}
		body := text[at+len(prefix):]
		n := leading(body, chars)
		if n < least || most > 0 && n > most {
			return false, false
		}
		return varied(body[:n], 10) && bytes.ContainsAny(body[:n], "0123456789") && !example(body[:n]), false
	}
}

// followedBy takes a beginning whose end stands behind it, with something of a
// length in between.
func followedBy(end string, least int) func([]byte, int) (ok, weak bool) {
	return func(text []byte, at int) (bool, bool) {
		i := bytes.Index(text[at:], []byte(end))
		return i >= least, false
	}
}

// keyIDLength is that of AKIA and ASIA ids; secretLength that of their secrets.
const (
	keyIDLength  = 20
	secretLength = 40
	// near is how far from a key id its secret may stand.
	near = 200
)

// awsKey takes a key id that stands alone; with a secret near it is a blocker.
func awsKey(text []byte, at int) (ok, weak bool) {
	if !starts(text, at) || len(text) < at+keyIDLength {
		return false, false
	}
	id := text[at : at+keyIDLength]
	if leading(id[4:], keyIDChars) != keyIDLength-4 || example(id) || !varied(id[4:], 6) {
		return false, false
	}
	if end := at + keyIDLength; end < len(text) && bytes.IndexByte([]byte(base64Text+"_"), text[end]) >= 0 && text[end] != '=' {
		return false, false
	}
	before, after := text[max(0, at-near):at], text[at+keyIDLength:min(len(text), at+keyIDLength+near)]
	return true, !hasSecret(before) && !hasSecret(after)
}

// awsSecret takes the name of a secret key with a value that is one.
func awsSecret(text []byte, at int) (ok, weak bool) {
	return hasSecret(text[at:min(len(text), at+90)]), false
}

// hasSecret looks for 40 characters as AWS makes secrets: mixed case and digits,
// which object ids and checksums in hexadecimal are not.
func hasSecret(text []byte) bool {
	const chars = alnum + "+/"
	for i := 0; i < len(text); {
		n := leading(text[i:], chars)
		if n == secretLength {
			s := text[i : i+n]
			if bytes.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && bytes.ContainsAny(s, "ghijklmnopqrstuvwxyz") &&
				bytes.ContainsAny(s, "0123456789+/") && varied(s, 14) && !example(s) && bytes.Count(s, []byte("/")) < 6 {
				return true
			}
		}
		i += n + 1
	}
	return false
}

// serviceAccount takes the type of a key file of Google's with the key itself.
func serviceAccount(text []byte, at int) (ok, weak bool) {
	rest := text[at:min(len(text), at+4096)]
	return bytes.Contains(rest, []byte(`"private_key"`)) && bytes.Contains(rest, []byte("-----BEGIN")), false
}

// sendGrid takes a key of two parts.
func sendGrid(text []byte, at int) (ok, weak bool) {
	body := text[at+3:]
	n := leading(body, tokenChars)
	if !starts(text, at) || n != 22 || len(body) < 23+43 || body[22] != '.' {
		return false, false
	}
	return leading(body[23:], tokenChars) == 43 && varied(body[:66], 16), false
}

// assigned takes a word with a value behind it, outside of comments.
func assigned(text []byte, at int) (ok, weak bool) {
	line := text[bytes.LastIndexByte(text[:at], '\n')+1 : at]
	if bytes.ContainsAny(line, "#;") || bytes.HasPrefix(bytes.TrimSpace(line), []byte("//")) {
		return false, false
	}
	rest := text[at:min(len(text), at+80)]
	value := bytes.TrimLeft(rest[min(len(rest), bytes.IndexAny(rest, "=: ")+1):], "=: \t")
	word := bytes.Trim(value[:min(len(value), leading(value, alnum+`"'!@%^&*_-+/.`))], `"'`)
	return len(word) >= 6 && varied(word, 5), false
}
