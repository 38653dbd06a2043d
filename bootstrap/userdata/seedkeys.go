// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import "strings"

// seedKeys finds RS_version, RS_src and RS_patch_url by the rules of the
// original seed script, which matched them in the whole text with expr: as
// substrings, case-sensitively, the last occurrence wins, and the value ends at
// the first character outside its set.
func (d Data) seedKeys() (version, src, patchURL string) {
	return exprKey(d.text, "RS_version=", versionChar),
		exprKey(d.text, "RS_src=", urlChar),
		exprKey(d.text, "RS_patch_url=", urlChar)
}

// versionChar accepts what a version may hold: no upper-case letter, so that
// 5.8RC1 reads as 5.8.
func versionChar(c byte) bool {
	return c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
}

func urlChar(c byte) bool {
	return versionChar(c) || 'A' <= c && c <= 'Z' || c == '/' || c == ':'
}

// exprKey is expr "$text" : '.*key\([set]*\)'. An empty result and a zero are
// "not found", because expr exits 1 for them.
func exprKey(text, key string, accept func(byte) bool) string {
	i := strings.LastIndex(text, key)
	if i < 0 {
		return ""
	}
	v := text[i+len(key):]
	end := 0
	for end < len(v) && accept(v[end]) {
		end++
	}
	v = v[:end]
	digits := strings.TrimPrefix(v, "-")
	if strings.Trim(digits, "0") == "" && digits != "" {
		return ""
	}
	return v
}
