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
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// Limits of a password in bytes. The upper one keeps hashing cheap for us.
const (
	minPassword = 12
	maxPassword = 1024
)

// Cost of argon2id: OWASP's second choice, which needs little memory, since
// logins come in parallel.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
	argonKey     = 32
)

// hashing lets two passwords be hashed at a time: a flood of logins waits
// instead of taking all memory.
var hashing = make(chan struct{}, 2)

// noPassword is what a login with an unknown address is compared with, so that
// it takes as long as one with a known address.
var noPassword = sync.OnceValue(func() string { return hashPassword("nobody has this password") })

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

// hashPassword returns the PHC string of a password.
func hashPassword(p secret.String) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, see crypto/rand
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(argon(p, salt, argonTime, argonMemory, argonThreads)))
}

func argon(p secret.String, salt []byte, time, memory uint32, threads uint8) []byte {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	return argon2.IDKey([]byte(p.Reveal()), salt, time, memory, threads, argonKey)
}

// samePassword compares in constant time. The cost is read from the hash, so
// that it can be raised later.
func samePassword(p secret.String, hash string) bool {
	parts := strings.Split(hash, "$")
	var v int
	var memory, time uint32
	var threads uint8
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &v); err != nil || v != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errWant := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errWant != nil || len(want) != argonKey {
		return false
	}
	return subtle.ConstantTimeCompare(argon(p, salt, time, memory, threads), want) == 1
}

// NewPassword makes a password that can be read out and typed: 26 characters
// of base32 with 130 bits.
func NewPassword() secret.String {
	raw := make([]byte, 17)
	_, _ = rand.Read(raw)
	return secret.String(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)[:26]))
}
