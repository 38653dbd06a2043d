// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxBody bounds what a gzip may expand to. EC2 allows 16 KiB of user-data, of
// which 1000:1 is the best that deflate can do; nobody's real one comes near.
const maxBody = 4 << 20

// gunzip returns the body of raw, which may be compressed.
func gunzip(raw []byte) (body []byte, zipped bool, err error) {
	if !bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		return raw, false, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, true, err
	}
	body, err = io.ReadAll(io.LimitReader(zr, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("more than %d bytes", maxBody)
	}
	// A cut-off stream is refused too: half of the settings is worse than none.
	if err = errors.Join(err, zr.Close()); err != nil {
		return nil, true, err
	}
	return body, true, nil
}

// normalise turns CRLF into LF and drops a byte order mark.
func normalise(body []byte) string {
	s := strings.TrimPrefix(string(body), "\ufeff")
	return strings.ReplaceAll(s, "\r\n", "\n")
}

// formOf looks at the beginning of the text and, for the query form, at its
// pairs. A document that a Linux cloud would run is never taken for a query
// string, unless the platform's own pairs were put around it with "&".
func formOf(text string) Form {
	head := strings.TrimSpace(text)
	if head == "" {
		return FormEmpty
	}
	if isMIME(text) {
		return FormMIME
	}
	if strings.HasPrefix(head, "#") || strings.HasPrefix(head, "<") {
		switch {
		case hasPlatformItem(text):
			return FormQuery
		case strings.HasPrefix(head, "#cloud-config"):
			return FormCloudConfig
		case strings.HasPrefix(head, "#!"):
			return FormScript
		}
		return FormRaw
	}
	if hasPlatformItem(text) || looksLikePairs(text) {
		return FormQuery
	}
	return FormRaw
}

// hasPlatformItem says that one of the items between "&" is RS_rn_id=….
func hasPlatformItem(text string) bool {
	for item := range strings.SplitSeq(text, "&") {
		key, _, ok := strings.Cut(item, "=")
		if ok && strings.EqualFold(strings.TrimSpace(key), "RS_rn_id") {
			return true
		}
	}
	return false
}

// looksLikePairs is for the users' own strings (role=web&env=test). JSON and
// binary are kept raw although they may contain an equals sign.
func looksLikePairs(text string) bool {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return false
	}
	for item := range strings.SplitSeq(text, separator(text)) {
		key, _, ok := strings.Cut(item, "=")
		if ok && strings.TrimSpace(key) != "" {
			return true
		}
	}
	return false
}

// separator is "&", or the newline in texts that have no "&" (rackspace,
// softlayer and vsphere files).
func separator(text string) string {
	if strings.Contains(text, "&") {
		return "&"
	}
	return "\n"
}

// ParsePairs reads key=value pairs by the rules of the query form, whatever the
// text looks like. Metadata files have the same format.
func ParsePairs(raw []byte) []Pair {
	var d Data
	return d.parseQuery(normalise(raw))
}

// parseQuery splits pairs as the agent did: "&" between them, the key ends at
// the first "=", both sides trimmed, items without "=" dropped, the last of
// equal keys wins, nothing URL-decoded. Two additions: a text without "&" is
// split at newlines, and in a text with "&" a line that begins with RS_ and has
// "=" begins a new item, so that a string appended on a line of its own is seen.
func (d *Data) parseQuery(text string) []Pair {
	var pairs []Pair
	at := map[string]int{}
	dropped := 0
	for item := range strings.SplitSeq(text, separator(text)) {
		for _, part := range splitAtKeys(item) {
			key, value, ok := strings.Cut(part, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if !ok || key == "" {
				if strings.TrimSpace(part) != "" {
					dropped++
				}
				continue
			}
			if i, seen := at[key]; seen {
				pairs[i].Value = value
				continue
			}
			at[key] = len(pairs)
			pairs = append(pairs, Pair{key, value})
		}
	}
	if dropped > 0 {
		d.problem("%d item(s) without key=value were ignored", dropped)
	}
	return pairs
}

// splitAtKeys cuts item before every line that begins with RS_name=.
func splitAtKeys(item string) []string {
	var parts []string
	start := 0
	for i := 0; i < len(item); i++ {
		if item[i] == '\n' && beginsWithKey(item[i+1:]) {
			parts = append(parts, item[start:i])
			start = i + 1
		}
	}
	return append(parts, item[start:])
}

func beginsWithKey(s string) bool {
	if len(s) < 4 || !strings.EqualFold(s[:3], "RS_") {
		return false
	}
	for i := 3; i < len(s); i++ {
		switch c := s[i]; {
		case c == '=':
			return i > 3
		case c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z'):
			return false
		}
	}
	return false
}
