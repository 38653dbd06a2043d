// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// Limits of a password in bytes. The upper one keeps hashing cheap for us.
const (
	minPassword = 12
	maxPassword = 1024
)

// argonKey is the length of a hash in bytes.
const argonKey = 32

// Cost is what argon2id takes for a new hash.
type Cost struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// DefaultCost is OWASP's second choice, which needs little memory, since logins
// come in parallel.
var DefaultCost = Cost{Time: 2, Memory: 19 << 10, Threads: 1}

// hashing lets two passwords be hashed at a time: a flood of logins waits
// instead of taking all memory.
var hashing = make(chan struct{}, 2)

func checkPassword(p secret.String) error {
	switch n := len(p.Reveal()); {
	case n < minPassword:
		return invalid("the password has %d bytes; want at least %d", n, minPassword)
	case n > maxPassword:
		return invalid("the password has %d bytes; want at most %d", n, maxPassword)
	case !utf8.ValidString(p.Reveal()) || strings.ContainsAny(p.Reveal(), "\x00\r\n"):
		return invalid("the password holds a line end or bytes that are not text")
	}
	return nil
}

// hash returns the PHC string of a password.
func (c Cost) hash(p secret.String) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, see crypto/rand
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Threads,
		enc.EncodeToString(salt), enc.EncodeToString(c.argon(p, salt)))
}

// unknown is the hash that a login with an unknown address is compared with, so
// that it takes as long as one with a known address.
func (c Cost) unknown() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Threads,
		enc.EncodeToString(make([]byte, 16)), enc.EncodeToString(make([]byte, argonKey)))
}

func (c Cost) argon(p secret.String, salt []byte) []byte {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	return argon2.IDKey([]byte(p.Reveal()), salt, c.Time, c.Memory, c.Threads, argonKey)
}

// samePassword compares in constant time. The cost is read from the hash, so
// that it can be raised later.
func samePassword(p secret.String, hash string) bool {
	parts := strings.Split(hash, "$")
	var v int
	var c Cost
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &v); err != nil || v != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Threads); err != nil {
		return false
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errWant := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errWant != nil || len(want) != argonKey {
		return false
	}
	return subtle.ConstantTimeCompare(c.argon(p, salt), want) == 1
}

// NewPassword makes a password that can be read out and typed: 26 characters
// of base32 with 130 bits.
func NewPassword() secret.String {
	raw := make([]byte, 17)
	_, _ = rand.Read(raw)
	return secret.String(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)[:26]))
}
