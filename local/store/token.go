// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Token makes an opaque token that carries text and is only good for scope,
// such as the next page of one request or one block of one snapshot.
func (s *Store) Token(scope, text string) string {
	return base64.URLEncoding.EncodeToString(append(s.mac(scope, text), text...))
}

// OpenToken returns what the token carries; false when it was not made for
// scope by this cloud.
func (s *Store) OpenToken(scope, token string) (string, bool) {
	// The AWS CLI and SDKs pass tokens on as they are, but a shell user may lose the padding.
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil || len(raw) < 16 {
		return "", false
	}
	text := string(raw[16:])
	return text, hmac.Equal(raw[:16], s.mac(scope, text))
}

func (s *Store) mac(scope, text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(scope + "\x00" + text))
	return h.Sum(nil)[:16]
}
