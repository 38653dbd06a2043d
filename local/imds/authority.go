// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imds

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/cms"
)

// AuthorityFile holds, in a state directory, the key and the certificate with
// which a local cloud signs identity documents.
const AuthorityFile = "identity.pem"

// authorityYears is the life of the certificate; EC2's own last longer still.
const authorityYears = 30

// Authority signs instance identity documents, as EC2 does in each region.
type Authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// OpenAuthority reads the authority of a state directory and makes it at the
// first use. Of two processes that make it at once, both get the first's.
func OpenAuthority(dir string) (*Authority, error) {
	path := filepath.Join(dir, AuthorityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeAuthority(path); err != nil {
			return nil, fmt.Errorf("make the authority of identity documents: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the authority of identity documents: %w", err)
	}
	a, err := parseAuthority(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it for a new one", path, err)
	}
	return a, nil
}

func parseAuthority(text []byte) (*Authority, error) {
	var a Authority
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "CERTIFICATE":
			a.cert, err = x509.ParseCertificate(block.Bytes)
		case "RSA PRIVATE KEY":
			a.key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		}
		if err != nil {
			return nil, err
		}
	}
	if a.cert == nil || a.key == nil {
		return nil, errors.New("it lacks a certificate or a key")
	}
	return &a, nil
}

func writeAuthority(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"RightImage local cloud"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(authorityYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".identity-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	mine := filepath.Join(tmp, AuthorityFile)
	if err := atomicfile.Write(mine, text, 0o600); err != nil {
		return err
	}
	if err := os.Link(mine, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Certificate is what a platform needs to check the documents, as PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Document returns the signed document of an instance, as its metadata service
// shows it under "document" and "rsa2048".
func (a *Authority) Document(i Instance) (text, rsa2048 string, err error) {
	text = document(i)
	entries, err := a.signed(text, time.Now())
	return text, entries["rsa2048"], err
}

// signed are the entries of dynamic/instance-identity for a document.
func (a *Authority) signed(text string, at time.Time) (map[string]string, error) {
	message, err := cms.Sign([]byte(text), a.cert, a.key, at)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(text))
	plain, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, err
	}
	return map[string]string{"rsa2048": wrapped(message), "signature": wrapped(plain)}, nil
}

// wrapped is base64 in lines, as EC2 writes it.
func wrapped(raw []byte) string {
	const width = 76
	text := base64.StdEncoding.EncodeToString(raw)
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return strings.Join(append(lines, text), "\n")
}
