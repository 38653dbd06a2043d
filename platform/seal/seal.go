// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package seal encrypts values at rest and signs short messages with one key
// that lies in a file beside the database, so that a copy of the database alone
// gives away no secret.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

const keySize = 32

// ErrOpen reports a sealed value that the key does not open: another key, or a
// changed or moved value.
var ErrOpen = errors.New("the sealed value does not open with this secret.key")

// Keys seals and signs.
type Keys struct {
	aead cipher.AEAD
	mac  []byte
}

// Load reads the key file, and creates it with a fresh key when it is absent
// and create is set. Of two processes that create it at once, both get the key
// of the first.
func Load(path string, create bool) (*Keys, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := writeNew(path); err != nil {
			return nil, fmt.Errorf("create key file: %w", err)
		}
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("key file %s: want %d hex digits; restore it from a backup", path, 2*keySize)
	}
	return New(key)
}

// New makes Keys from a 32-byte key.
func New(key []byte) (*Keys, error) {
	sealing, err := hkdf.Key(sha256.New, key, nil, "rightscaled seal v1", keySize)
	if err != nil {
		return nil, err
	}
	signing, err := hkdf.Key(sha256.New, key, nil, "rightscaled sign v1", keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Keys{aead: aead, mac: signing}, nil
}

// writeNew puts a fresh key at path unless another process was quicker.
func writeNew(path string) error {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".key-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tmp := filepath.Join(dir, "key")
	if err := atomicfile.Write(tmp, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

const version = 1

// Seal encrypts plain. The place says where the value belongs ("credential
// 1/NAME"); a sealed value moved to another place does not open.
func (k *Keys) Seal(place, plain string) []byte {
	return append([]byte{version}, k.aead.Seal(nil, nil, []byte(plain), []byte(place))...) //nolint:gosec // the AEAD makes a random nonce itself
}

// Open decrypts what Seal made for the same place.
func (k *Keys) Open(place string, sealed []byte) (string, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return "", ErrOpen
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], []byte(place))
	if err != nil {
		return "", ErrOpen
	}
	return string(plain), nil
}

// Sign returns a MAC over the message for a purpose.
func (k *Keys) Sign(purpose, message string) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write([]byte(purpose + "\x00" + message))
	return h.Sum(nil)
}

// Verify checks a MAC in constant time.
func (k *Keys) Verify(purpose, message string, mac []byte) bool {
	return hmac.Equal(k.Sign(purpose, message), mac)
}
