// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package pki makes the platform's own certificate authority and server
// certificate, for development and for machines without a public name. Both
// live in one directory: ca.pem and ca.key, server.pem and server.key.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour // what browsers accept
	renewWhen  = 30 * 24 * time.Hour  // left
	// backdate tolerates guests whose clock is behind.
	backdate = time.Hour
)

// ErrCAExpired reports a CA that must be replaced by hand, since every image
// and browser that trusts it must get the new one.
var ErrCAExpired = errors.New("the CA has expired; move the tls directory away, start again and hand out the new ca.pem")

// Ensure returns the server certificate for the names and addresses, making or
// renewing what is missing: the CA once, the server certificate when names
// changed or it is about to expire.
func Ensure(dir string, names []string, now time.Time) (tls.Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificates: %w", err)
	}
	ca, err := load(filepath.Join(dir, "ca"))
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = makeCA(dir, now)
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificates: %w", err)
	}
	if now.After(ca.Leaf.NotAfter) {
		return tls.Certificate{}, fmt.Errorf("certificates: %s: %w", filepath.Join(dir, "ca.pem"), ErrCAExpired)
	}
	server, err := load(filepath.Join(dir, "server"))
	if err == nil && good(server, ca, names, now) {
		return server, nil
	}
	server, err = makeServer(dir, ca, names, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificates: %w", err)
	}
	return server, nil
}

// CA returns the PEM of the CA certificate.
func CA(dir string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, "ca.pem")) }

// NeedsRenewal tells whether a certificate is about to expire.
func NeedsRenewal(c tls.Certificate, now time.Time) bool {
	return c.Leaf == nil || c.Leaf.NotAfter.Sub(now) < renewWhen
}

func load(base string) (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(base+".pem", base+".key")
	if err != nil {
		return cert, err
	}
	if cert.Leaf == nil { // GODEBUG x509keypairleaf=0
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	return cert, err
}

func good(server, ca tls.Certificate, names []string, now time.Time) bool {
	if NeedsRenewal(server, now) || server.Leaf.CheckSignatureFrom(ca.Leaf) != nil {
		return false
	}
	have := slices.Clone(server.Leaf.DNSNames)
	for _, ip := range server.Leaf.IPAddresses {
		have = append(have, ip.String())
	}
	want := unique(names)
	slices.Sort(have)
	slices.Sort(want)
	return slices.Equal(have, want)
}

// unique writes addresses in their usual form and drops repeats.
func unique(names []string) []string {
	var out []string
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String()
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func makeCA(dir string, now time.Time) (tls.Certificate, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	tmpl := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "rightscaled CA on " + host, Organization: []string{"RightImage platform"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(filepath.Join(dir, "ca"), tmpl, nil)
}

func makeServer(dir string, ca tls.Certificate, names []string, now time.Time) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("a server certificate needs at least one name")
	}
	end := now.Add(serverLife)
	if end.After(ca.Leaf.NotAfter) {
		end = ca.Leaf.NotAfter
	}
	tmpl := &x509.Certificate{
		Subject:   pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-backdate), NotAfter: end, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range unique(names) {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	return issue(filepath.Join(dir, "server"), tmpl, &ca)
}

// issue makes a key and a certificate, self-signed without an issuer, and
// writes both; the key first, so that a certificate never lies without its key.
func issue(base string, tmpl *x509.Certificate, issuer *tls.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return tls.Certificate{}, err
	}
	parent, signer := tmpl, crypto.PrivateKey(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := atomicfile.Write(base+".key", keyPEM, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := atomicfile.Write(base+".pem", certPEM, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return load(base)
}
