// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// tokens issues and checks session tokens without keeping any: a token is its
// own expiry time and a nonce, signed with a key of this server. So a guest that
// asks for a million tokens costs no memory.
type tokens struct{ key []byte }

// Parts of a token, in bytes.
const (
	expirySize = 8
	nonceSize  = 8
	signedSize = expirySize + nonceSize
	macSize    = 24
)

func newTokens() (tokens, error) {
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return tokens{}, fmt.Errorf("metadata token key: %w", err)
	}
	return tokens{key}, nil
}

func (t tokens) issue(expiry time.Time) (string, error) {
	raw := binary.BigEndian.AppendUint64(nil, uint64(expiry.UnixMilli()))
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("metadata token: %w", err)
	}
	raw = append(raw, nonce...)
	return base64.URLEncoding.EncodeToString(append(raw, t.sign(raw)...)), nil
}

// valid tells whether this server issued the token and how many seconds it has left.
func (t tokens) valid(token string, now time.Time) (secondsLeft int, ok bool) {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) != signedSize+macSize || !hmac.Equal(raw[signedSize:], t.sign(raw[:signedSize])) {
		return 0, false
	}
	expiry := time.UnixMilli(int64(binary.BigEndian.Uint64(raw)))
	if !now.Before(expiry) {
		return 0, false
	}
	return int(expiry.Sub(now) / time.Second), true
}

func (t tokens) sign(data []byte) []byte {
	mac := hmac.New(sha256.New, t.key)
	mac.Write(data)
	return mac.Sum(nil)[:macSize]
}
