// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package cms reads, checks and writes signed messages (CMS, PKCS #7) in the
// one form that EC2 gives to instance identity documents: one signer, RSA with
// SHA-256, no certificates inside. Whoever checks brings the certificates.
package cms

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// Errors of this package.
var (
	// ErrForm says that the message is not of the form that we read.
	ErrForm = errors.New("not a signed message of the expected form")
	// ErrSignature says that the signature does not fit content and certificate.
	ErrSignature = errors.New("the signature is wrong")
)

// Object identifiers of RFC 5652 and RFC 8017. They are functions because a
// slice cannot be a constant.
func oidSignedData() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2} }
func oidData() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1} }
func oidContentType() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
}
func oidMessageDigest() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
}
func oidSigningTime() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
}
func oidSHA256() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
}
func oidRSA() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} }
func oidSHA256WithRSA() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
}

type algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
}

type signedData struct {
	Version      int
	Digests      []algorithm `asn1:"set"`
	Content      contentInfo
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	Revocations  asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signer      `asn1:"set"`
}

type signer struct {
	Version            int
	ID                 issuerAndSerial
	Digest             algorithm
	Attributes         asn1.RawValue `asn1:"optional,tag:0"`
	SignatureAlgorithm algorithm
	Signature          []byte
	Unsigned           asn1.RawValue `asn1:"optional,tag:1"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue
}

// Message is a parsed message. Nothing in it is proved before Verify.
type Message struct {
	// Content is nil when the message does not carry what it signs.
	Content []byte
	signer  signer
}

// Parse reads a message in BER or DER.
func Parse(raw []byte) (Message, error) {
	var m Message
	if len(raw) > maxSize {
		return m, fmt.Errorf("%w: %d bytes, at most %d are read", ErrForm, len(raw), maxSize)
	}
	der, rest, err := normalise(raw, 0)
	if err != nil || len(rest) > 0 {
		return m, fmt.Errorf("%w: %w", ErrForm, errors.Join(err, trailing(rest)))
	}
	var info contentInfo
	var data signedData
	if err := errors.Join(unmarshal(der, &info), unmarshal(info.Content.Bytes, &data)); err != nil {
		return m, fmt.Errorf("%w: %w", ErrForm, err)
	}
	switch {
	case !info.Type.Equal(oidSignedData()) || !data.Content.Type.Equal(oidData()):
		return m, fmt.Errorf("%w: it is no signed data", ErrForm)
	case len(data.Signers) != 1:
		return m, fmt.Errorf("%w: %d signers, want one", ErrForm, len(data.Signers))
	case !data.Signers[0].Digest.Algorithm.Equal(oidSHA256()):
		return m, fmt.Errorf("%w: the digest is not SHA-256", ErrForm)
	}
	m.signer = data.Signers[0]
	if a := m.signer.SignatureAlgorithm.Algorithm; !a.Equal(oidRSA()) && !a.Equal(oidSHA256WithRSA()) {
		return m, fmt.Errorf("%w: the signature is not RSA with SHA-256", ErrForm)
	}
	if len(data.Content.Content.Bytes) > 0 {
		if err := unmarshal(data.Content.Content.Bytes, &m.Content); err != nil {
			return m, fmt.Errorf("%w: content: %w", ErrForm, err)
		}
	}
	return m, nil
}

func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err != nil {
		return err
	}
	return trailing(rest)
}

func trailing(rest []byte) error {
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the message", len(rest))
	}
	return nil
}

// NamesSigner tells if the message says that the certificate's owner signed it.
func (m Message) NamesSigner(cert *x509.Certificate) bool {
	id := m.signer.ID
	return id.Serial != nil && id.Serial.Cmp(cert.SerialNumber) == 0 && bytes.Equal(id.Issuer.FullBytes, cert.RawIssuer)
}

// Verify checks that the certificate's key signed exactly this content.
// ErrSignature otherwise.
func (m Message) Verify(cert *x509.Certificate, content []byte) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w: the certificate's key is not RSA", ErrSignature)
	}
	signed := content
	if len(m.signer.Attributes.FullBytes) > 0 {
		if err := checkAttributes(m.signer.Attributes.Bytes, content); err != nil {
			return err
		}
		// What is signed is the set of attributes under its own tag.
		signed = bytes.Clone(m.signer.Attributes.FullBytes)
		signed[0] = 0x31
	}
	digest := sha256.Sum256(signed)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], m.signer.Signature); err != nil {
		return ErrSignature
	}
	return nil
}

// checkAttributes wants the content's type and digest among the attributes,
// once each.
func checkAttributes(der, content []byte) error {
	digest := sha256.Sum256(content)
	seen := map[string]int{}
	for len(der) > 0 {
		var a attribute
		rest, err := asn1.Unmarshal(der, &a)
		if err != nil {
			return fmt.Errorf("%w: attributes: %w", ErrForm, err)
		}
		der = rest
		seen[a.Type.String()]++
		switch {
		case a.Type.Equal(oidContentType()):
			var t asn1.ObjectIdentifier
			if unmarshal(a.Values.Bytes, &t) != nil || !t.Equal(oidData()) {
				return fmt.Errorf("%w: the signed type is another", ErrSignature)
			}
		case a.Type.Equal(oidMessageDigest()):
			var d []byte
			if unmarshal(a.Values.Bytes, &d) != nil || !bytes.Equal(d, digest[:]) {
				return fmt.Errorf("%w: another content was signed", ErrSignature)
			}
		}
	}
	if seen[oidContentType().String()] != 1 || seen[oidMessageDigest().String()] != 1 {
		return fmt.Errorf("%w: type or digest of the content is not signed", ErrSignature)
	}
	return nil
}
