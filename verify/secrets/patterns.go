// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package secrets

import (
	"bytes"
	"strings"
)

// The checks that finds belong to.
const (
	KeyCheck      = "cred-private-keys"
	NeedleCheck   = "cred-builder-needles"
	AWSCheck      = "cred-aws"
	TokenCheck    = "cred-token-patterns"
	PlatformCheck = "cred-platform-tools"
)

const (
	alnum      = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	tokenChars = alnum + "_-"
	keyIDChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	base64Text = alnum + "+/="
)

// known are the patterns that are secrets wherever they stand.
func known() []pattern {
	list := []pattern{
		{check: KeyCheck, kind: "private key (PEM)", literal: "-----BEGIN ", key: 5, rule: pem},
		{check: KeyCheck, kind: "private key (SSH2)", literal: "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY", key: 11, rule: followedBy("---- END SSH2 ENCRYPTED PRIVATE KEY", 60)},
		{check: KeyCheck, kind: "private key (PuTTY)", literal: "PuTTY-User-Key-File-", key: 0, rule: followedBy("Private-Lines:", 20)},
		{check: KeyCheck, kind: "private key (age)", literal: "AGE-SECRET-KEY-1", key: 4, rule: token("AGE-SECRET-KEY-1", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 58, 58)},
		{check: AWSCheck, kind: "AWS access key", literal: "AKIA", rule: awsKey},
		{check: AWSCheck, kind: "AWS session key", literal: "ASIA", rule: awsKey},
		{check: AWSCheck, kind: "AWS secret key", literal: "secret_access_key", key: 9, rule: awsSecret},
		{check: AWSCheck, kind: "AWS secret key", literal: "SECRET_ACCESS_KEY", key: 9, rule: awsSecret},
		{check: AWSCheck, kind: "AWS secret key", literal: "SecretAccessKey", key: 8, rule: awsSecret},
		{check: PlatformCheck, kind: "key of a Google service account", literal: "\"service_account\"", key: 7, rule: serviceAccount},
	}
	for _, t := range []struct {
		prefix, kind string
		chars        string
		least, most  int
	}{
		{"ghp_", "GitHub token", alnum, 36, 0}, {"gho_", "GitHub token", alnum, 36, 0}, {"ghu_", "GitHub token", alnum, 36, 0},
		{"ghs_", "GitHub token", alnum, 36, 0}, {"ghr_", "GitHub token", alnum, 36, 0},
		{"github_pat_", "GitHub token", alnum + "_", 40, 0}, {"glpat-", "GitLab token", tokenChars, 20, 0},
		{"xoxb-", "Slack token", alnum + "-", 24, 0}, {"xoxp-", "Slack token", alnum + "-", 24, 0},
		{"xoxa-", "Slack token", alnum + "-", 24, 0}, {"xoxs-", "Slack token", alnum + "-", 24, 0},
		{"AIza", "Google API key", tokenChars, 35, 35}, {"sk_live_", "Stripe key", alnum, 24, 0},
		{"npm_", "npm token", alnum, 36, 36}, {"pypi-AgEI", "PyPI token", tokenChars, 50, 0},
		{"hvs.", "Vault token", tokenChars, 24, 0}, {"dckr_pat_", "Docker token", tokenChars, 27, 0},
	} {
		list = append(list, pattern{check: TokenCheck, kind: Kind(t.kind), literal: t.prefix, rule: token(t.prefix, t.chars, t.least, t.most)})
	}
	list = append(list, pattern{check: TokenCheck, kind: "SendGrid key", literal: "SG.", rule: sendGrid})
	for literal, key := range map[string]int{"password=": 5, "secret:": 2, "Bearer eyJ": 6} {
		list = append(list, pattern{check: TokenCheck, kind: Kind("the word " + literal), literal: literal, key: key, guess: true, rule: assigned})
	}
	return list
}

// pem takes a private key that is whole: its label, a body in base64, and the
// end line of the same label. The begin line alone stands in many programs.
func pem(text []byte, at int) (ok, weak bool) {
	rest := text[at+len("-----BEGIN "):]
	end := bytes.Index(rest[:min(len(rest), 60)], []byte("-----"))
	if end < 0 {
		return false, false
	}
	label := string(rest[:end])
	if !strings.HasSuffix(strings.TrimSuffix(label, " BLOCK"), "PRIVATE KEY") {
		return false, false
	}
	body, _, closed := bytes.Cut(rest[end+5:], []byte("-----END "+label+"-----"))
	if !closed {
		return false, false
	}
	return keyBody(body), false
}

// keyBody reports whether a text is what stands between the lines of a key:
// headers, then base64 of some length. Line ends may be written as \\n, as in
// JSON.
func keyBody(body []byte) bool {
	body = bytes.ReplaceAll(body, []byte(`\n`), []byte("\n"))
	var plain []byte
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if i := bytes.IndexByte(line, ':'); i > 0 && i < 20 {
			continue // Proc-Type, DEK-Info, Version, Comment
		}
		line = bytes.Trim(line, `\"',+ `)
		if leading(line, base64Text) != len(line) {
			return false
		}
		plain = append(plain, line...)
	}
	return len(plain) >= 48 && varied(plain, 12)
}

// leading returns how many characters at the beginning of a text are of a set.
func leading(text []byte, chars string) int {
	for i, c := range text {
		if bytes.IndexByte([]byte(chars), c) < 0 {
			return i
		}
	}
	return len(text)
}

// varied reports whether a text has so many different characters: no placeholder
// does.
func varied(text []byte, least int) bool {
	var seen [256]bool
	n := 0
	for _, c := range text {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n >= least
}

// example reports whether a text is one of the samples of documentation.
func example(text []byte) bool {
	upper := bytes.ToUpper(text)
	return bytes.Contains(upper, []byte("EXAMPLE")) || bytes.Contains(upper, []byte("XXXX"))
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// starts reports whether no word runs into the place.
func starts(text []byte, at int) bool { return at == 0 || !wordByte(text[at-1]) }
