// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// PathChallenge is where an agent asks how to enrol and gets the nonce that its
// next proof must hold.
const PathChallenge = "/enrolment/challenge"

// The two ways to enrol.
const (
	// EnrolAttested: the instance proves a key of its own and shows the cloud's
	// identity document; the token of the user-data is good for one enrolment.
	EnrolAttested = "attested"
	// EnrolLegacy: the token alone, at every start, as RightLink 6 does.
	EnrolLegacy = "legacy"
)

// GrantProof is the grant_type of an OAuthRequest with a Proof.
const GrantProof = "urn:rightimage:params:oauth:grant-type:proof"

// ChallengeRequest asks for a nonce.
type ChallengeRequest struct {
	ClientID string `json:"client_id"`
}

// Challenge is the answer. Nonce is good for one proof within ExpiresIn seconds.
type Challenge struct {
	Enrolment string `json:"enrolment"`
	Nonce     string `json:"nonce,omitempty"`
	ExpiresIn int64  `json:"expires_in,omitempty"`
}

// Proof tells who an instance is. Keys are ed25519. At the first enrolment the
// token travels besides, as HTTP Basic; never again after that.
type Proof struct {
	Nonce     string `json:"nonce"`
	PublicKey []byte `json:"public_key"`
	// Signature is over Message, by PublicKey.
	Signature []byte `json:"signature"`
	// NextKey proposes a key that replaces PublicKey as soon as it is used;
	// NextSignature is over Message too.
	NextKey       []byte `json:"next_key,omitempty"`
	NextSignature []byte `json:"next_signature,omitempty"`
	// Document is the cloud's identity document, DocumentSignature its RSA-2048
	// signature (PKCS #7, base64), both as the metadata service gives them.
	Document          string `json:"identity_document"`
	DocumentSignature string `json:"identity_signature"`
}

// Message is what is signed: the nonce, the hash of the document, the token's
// id and the keys. Each part is on a line of its own and none can hold a line
// end, since the caller has checked the nonce.
func (p Proof) Message(clientID string) []byte {
	document := sha256.Sum256([]byte(p.Document))
	return fmt.Appendf(nil, "rightimage enrolment 1\n%s\n%s\n%x\n%x\n%s\n", clientID, p.Nonce, document, p.PublicKey, hex.EncodeToString(p.NextKey))
}
