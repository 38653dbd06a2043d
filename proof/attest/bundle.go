// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// BundleType is the media type of sigstore's bundles:
// https://docs.sigstore.dev/about/bundle/
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// ErrSignature says that a signature is missing or wrong.
var ErrSignature = errors.New("the signature does not hold")

// bundle is a sigstore bundle with a DSSE envelope and a public key. It has no
// entry of a transparency log: whoever verifies it must have the key.
type bundle struct {
	MediaType    string    `json:"mediaType"`
	Verification material  `json:"verificationMaterial"`
	Envelope     *envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey struct {
		Hint string `json:"hint,omitempty"`
	} `json:"publicKey"`
}

// envelope is a DSSE envelope: https://github.com/secure-systems-lab/dsse
type envelope struct {
	Payload     string         `json:"payload"`
	PayloadType string         `json:"payloadType"`
	Signatures  []envSignature `json:"signatures"`
}

type envSignature struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   string `json:"sig"`
}

// Encode writes a statement as JSON, always alike.
func (s Statement) Encode() ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write the statement: %w", err)
	}
	return append(data, '\n'), nil
}

// Sign signs a statement and returns a sigstore bundle with it.
func Sign(s Statement, with *Signer) ([]byte, error) {
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	sig, err := with.sign(dsse.PAE(PayloadType, payload))
	if err != nil {
		return nil, fmt.Errorf("sign the statement: %w", err)
	}
	b := bundle{MediaType: BundleType, Envelope: &envelope{
		Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: PayloadType,
		Signatures: []envSignature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}}
	b.Verification.PublicKey.Hint = with.KeyID()
	data, err := json.Marshal(b)
	return append(data, '\n'), err
}

// Open returns the statement of a bundle, of a bare DSSE envelope, or of a file
// that holds the statement alone. With a verifier it must be signed with its key;
// without one nothing is checked, and signed says whether there is a signature.
func Open(data []byte, with *Verifier) (s *Statement, signed bool, err error) {
	var either struct {
		bundle
		envelope
		Type string `json:"_type"`
	}
	if err := json.Unmarshal(data, &either); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	env := either.Envelope
	if env == nil && either.Payload != "" {
		env = &either.envelope
	}
	if env == nil {
		if with != nil {
			return nil, false, fmt.Errorf("%w: it is not signed", ErrSignature)
		}
		s, err := ParseStatement(data)
		return s, false, err
	}
	payload, err := env.check(with)
	if err != nil {
		return nil, true, err
	}
	s, err = ParseStatement(payload)
	return s, true, err
}

// check returns the payload when one of the signatures is of the key.
func (e *envelope) check(with *Verifier) ([]byte, error) {
	payload, err := unbase64(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: its payload is not base64", ErrStatement)
	}
	if e.PayloadType != PayloadType {
		return nil, fmt.Errorf("%w: its payload is %q, not %q", ErrStatement, e.PayloadType, PayloadType)
	}
	if with == nil {
		return payload, nil
	}
	for _, s := range e.Signatures {
		sig, err := unbase64(s.Sig)
		if err == nil && with.verify(dsse.PAE(e.PayloadType, payload), sig) == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("%w: none of its %d signatures is of the key %s", ErrSignature, len(e.Signatures), with.KeyID())
}

// unbase64 reads both alphabets, as DSSE wants it.
func unbase64(s string) ([]byte, error) {
	if data, err := base64.StdEncoding.DecodeString(s); err == nil {
		return data, nil
	}
	return base64.URLEncoding.DecodeString(s)
}
