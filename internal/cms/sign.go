// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Sign writes a message that carries the content, in BER with indefinite
// lengths as EC2 writes it.
func Sign(content []byte, cert *x509.Certificate, key *rsa.PrivateKey, at time.Time) ([]byte, error) {
	digest := sha256.Sum256(content)
	attributes, err := signedAttributes(digest[:], at)
	if err != nil {
		return nil, err
	}
	set := encode(0x31, attributes)
	hashed := sha256.Sum256(set)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, hashed[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var w writer
	sha := encode(0x30, w.der(oidSHA256()), []byte{5, 0})
	info := encode(0x30, w.der(1),
		encode(0x30, cert.RawIssuer, w.der(cert.SerialNumber)), sha,
		encode(0xa0, attributes),
		encode(0x30, w.der(oidSHA256WithRSA()), []byte{5, 0}), encode(tagOctets, signature))
	data := indefinite(0x30, w.der(1), encode(0x31, sha),
		indefinite(0x30, w.der(oidData()), indefinite(0xa0, indefinite(tagOctetsConstructed, encode(tagOctets, content)))),
		encode(0x31, info))
	message := indefinite(0x30, w.der(oidSignedData()), indefinite(0xa0, data))
	return message, w.err
}

// signedAttributes are type, time and digest in DER's order of a set.
func signedAttributes(digest []byte, at time.Time) ([]byte, error) {
	var w writer
	list := [][]byte{
		encode(0x30, w.der(oidContentType()), encode(0x31, w.der(oidData()))),
		encode(0x30, w.der(oidSigningTime()), encode(0x31, w.der(at.UTC().Truncate(time.Second)))),
		encode(0x30, w.der(oidMessageDigest()), encode(0x31, encode(tagOctets, digest))),
	}
	slices.SortFunc(list, bytes.Compare)
	return bytes.Join(list, nil), w.err
}

// writer collects the errors of many small encodings.
type writer struct{ err error }

func (w *writer) der(v any) []byte {
	out, err := asn1.Marshal(v)
	w.err = errors.Join(w.err, err)
	return out
}

func indefinite(tag byte, parts ...[]byte) []byte {
	out := append([]byte{tag, 0x80}, bytes.Join(parts, nil)...)
	return append(out, 0, 0)
}
