// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// PasswordVariable is the environment variable with the password of a signing
// key: it must not be on a command line, nor in a template.
const PasswordVariable = "RIGHTIMAGE_SIGNING_PASSWORD"

// ErrKey says that a key is not there or of no use.
var ErrKey = errors.New("signing key")

// Password is what the environment has for signing keys.
func Password() secret.String { return secret.String(os.Getenv(PasswordVariable)) }

// Signer signs statements with a key of a file.
type Signer struct {
	signer signature.Signer
	keyID  string
}

// KeyID names the key: the SHA-256 of its public part.
func (s *Signer) KeyID() string { return s.keyID }

// LoadSigner reads a private key: PEM with an Ed25519, ECDSA or RSA key, as
// openssl writes it, or encrypted with a password, as cosign writes it.
func LoadSigner(path string, password secret.String) (*Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, func(bool) ([]byte, error) {
		if password == "" {
			return nil, fmt.Errorf("it is encrypted: put its password into %s", PasswordVariable)
		}
		return []byte(password.Reveal()), nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w; it must be a PEM file with a private key, as `openssl genpkey -algorithm ed25519` or `cosign generate-key-pair` write it", ErrKey, path, err)
	}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKey, path, err)
	}
	public, err := signer.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKey, path, err)
	}
	id, err := keyID(public)
	return &Signer{signer, id}, err
}

func (s *Signer) sign(data []byte) ([]byte, error) {
	return s.signer.SignMessage(bytes.NewReader(data))
}

// Verifier checks signatures with a public key.
type Verifier struct {
	verifier signature.Verifier
	keyID    string
}

// KeyID names the key, as that of the Signer.
func (v *Verifier) KeyID() string { return v.keyID }

// LoadVerifier reads a public key, PEM.
func LoadVerifier(path string) (*Verifier, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w; it must be a PEM file with a public key, as `openssl pkey -pubout` or cosign write it", ErrKey, path, err)
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKey, path, err)
	}
	id, err := keyID(key)
	return &Verifier{verifier, id}, err
}

func (v *Verifier) verify(data, sig []byte) error {
	return v.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(data))
}

// keyID is what sigstore's bundles call a hint.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}
