// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// The roles of TUF.
const (
	roleRoot      = "root"
	roleTargets   = "targets"
	roleSnapshot  = "snapshot"
	roleTimestamp = "timestamp"
)

// head is what every signed part begins with.
type head struct {
	Type        string    `json:"_type"`
	SpecVersion string    `json:"spec_version"`
	Version     int64     `json:"version"`
	Expires     time.Time `json:"expires"`
}

func (h head) expired(name string, now time.Time) error {
	if now.Before(h.Expires) {
		return nil
	}
	return fmt.Errorf("%w: %s expired on %s, and the clock says %s; if the clock is right, the mirror must be signed again: rightimage mirror sign",
		ErrRefused, name, h.Expires.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
}

type rootDoc struct {
	head
	Keys map[string]struct {
		Type   string `json:"keytype"`
		Scheme string `json:"scheme"`
		Value  struct {
			Public string `json:"public"`
		} `json:"keyval"`
	} `json:"keys"`
	Roles map[string]struct {
		KeyIDs    []string `json:"keyids"`
		Threshold int      `json:"threshold"`
	} `json:"roles"`
}

// indexDoc is a timestamp or a snapshot: it names other documents.
type indexDoc struct {
	head
	Meta map[string]metaFile `json:"meta"`
}

// metaFile is what an index says about a document. Length and hashes may be
// missing; ours have them.
type metaFile struct {
	Length  int64             `json:"length"`
	Hashes  map[string]string `json:"hashes"`
	Version int64             `json:"version"`
}

type targetsDoc struct {
	head
	Targets map[string]struct {
		Length int64             `json:"length"`
		Hashes map[string]string `json:"hashes"`
		Custom *json.RawMessage  `json:"custom"`
	} `json:"targets"`
}

// document is a document that was parsed, not yet one that is trusted.
type document struct {
	raw        []byte
	payload    []byte // what is signed
	signatures map[string][]byte
}

// parse reads a document of one role. What is decoded is what is signed, byte
// by byte: the canonical form.
func parse(raw []byte, role string, into any) (document, error) {
	var envelope struct {
		Signed     json.RawMessage `json:"signed"`
		Signatures []struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	bad := func(err error) (document, error) { return document{}, fmt.Errorf("%w: %s: %w", ErrRefused, role, err) }
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return bad(err)
	}
	var signed map[string]any
	decoder := json.NewDecoder(bytes.NewReader(envelope.Signed))
	decoder.UseNumber()
	if err := decoder.Decode(&signed); err != nil {
		return bad(err)
	}
	d := document{raw: raw, signatures: map[string][]byte{}}
	var err error
	if d.payload, err = cjson.EncodeCanonical(signed); err != nil {
		return bad(err)
	}
	var h head
	if err := errors.Join(json.Unmarshal(d.payload, &h), json.Unmarshal(d.payload, into)); err != nil {
		return bad(err)
	}
	if h.Type != role || !strings.HasPrefix(h.SpecVersion, "1.") || h.Version < 1 {
		return bad(fmt.Errorf("it is version %d of a %q of the format %q", h.Version, h.Type, h.SpecVersion))
	}
	for _, s := range envelope.Signatures {
		sig, err := hex.DecodeString(s.Sig)
		if _, twice := d.signatures[s.KeyID]; err != nil || twice {
			return bad(errors.New("its signatures cannot be read"))
		}
		d.signatures[s.KeyID] = sig
	}
	return d, nil
}

// vouches checks that enough keys of a role have signed a document. Keys are
// told apart by what they are, not by how they are named.
func (r *rootDoc) vouches(role string, d document) error {
	rule, ok := r.Roles[role]
	if !ok || rule.Threshold < 1 {
		return fmt.Errorf("%w: the root names no keys for %s", ErrRefused, role)
	}
	good := map[string]bool{}
	for _, id := range rule.KeyIDs {
		key := r.Keys[id]
		public, err := hex.DecodeString(key.Value.Public)
		if key.Type != "ed25519" || key.Scheme != "ed25519" || err != nil || len(public) != ed25519.PublicKeySize {
			continue // of a kind that we do not know: it vouches for nothing
		}
		if sig := d.signatures[id]; len(sig) == ed25519.SignatureSize && ed25519.Verify(public, d.payload, sig) {
			good[string(public)] = true
		}
	}
	if len(good) < rule.Threshold {
		return fmt.Errorf("%w: %s has %d valid signatures of the keys that the root names; %d are needed", ErrRefused, role, len(good), rule.Threshold)
	}
	return nil
}

// fits checks bytes against what an index says about them.
func (m metaFile) fits(name string, raw []byte) error {
	if m.Length != 0 && int64(len(raw)) != m.Length {
		return fmt.Errorf("%w: %s has %d bytes; its digest is signed for %d", ErrRefused, name, len(raw), m.Length)
	}
	for kind, want := range m.Hashes {
		var h hash.Hash
		switch kind {
		case "sha256":
			h = sha256.New()
		case "sha512":
			h = sha512.New()
		default:
			return fmt.Errorf("%w: %s has a digest of the unknown kind %q", ErrRefused, name, kind)
		}
		h.Write(raw)
		if hex.EncodeToString(h.Sum(nil)) != want {
			return fmt.Errorf("%w: %s does not have its signed digest", ErrRefused, name)
		}
	}
	return nil
}
