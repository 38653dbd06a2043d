// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// keys is the file EnrolmentKey. It is written, and synced, before the platform
// hears of what is new in it, so that a kill at any instruction leaves an agent
// that can go on. A rotation goes through three states:
//
//	current    Next is empty
//	proposed   Next is saved; the platform may know it or not
//	confirmed  NextKnown: the platform has accepted Next; it takes either key
//	           until it has seen Next used, and then Next becomes Current
type keys struct {
	// ClientID, Platform and InstanceID say what the keys are for; those of
	// another instance are never used.
	ClientID   string `json:"client_id"`
	Platform   string `json:"platform"`
	InstanceID string `json:"instance_id"`
	// Enrolled: the platform has accepted Current; the token is not sent again.
	Enrolled bool `json:"enrolled"`
	// Attested: this instance has once enrolled so, with this or an earlier
	// identity, and never goes back to showing a token.
	Attested bool `json:"attested"`
	// Seeds of ed25519 keys.
	Current   []byte `json:"current"`
	Next      []byte `json:"next,omitempty"`
	NextKnown bool   `json:"next_known,omitempty"`
}

// loadKeys reads the file; a missing one is no error and gives nil. A damaged
// one is an error: to make new keys in silence would end the instance's
// enrolment for good.
func loadKeys(root paths.Root) (*keys, error) {
	text, err := os.ReadFile(root.EnrolmentKey())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the enrolment key: %w", err)
	}
	var k keys
	if err := json.Unmarshal(text, &k); err != nil || !k.sound() {
		return nil, fmt.Errorf("the enrolment key %s is damaged; restore it, or remove it and launch the server anew", root.EnrolmentKey())
	}
	return &k, nil
}

// sound tells if the seeds can be used.
func (k *keys) sound() bool {
	return len(k.Current) == ed25519.SeedSize && (len(k.Next) == ed25519.SeedSize || len(k.Next) == 0 && !k.NextKnown)
}

// newKeys makes the first key for an identity; old may be nil.
func newKeys(id identity.Identity, instanceID string, old *keys) *keys {
	k := &keys{ClientID: id.ClientID, Platform: id.APIHostname, InstanceID: instanceID, Current: newSeed()}
	k.Attested = old != nil && old.InstanceID == instanceID && old.Attested
	return k
}

// isFor tells if the keys belong to this identity on this instance.
func (k *keys) isFor(id identity.Identity, instanceID string) bool {
	return k != nil && k.ClientID == id.ClientID && k.Platform == id.APIHostname && k.InstanceID == instanceID
}

func (k *keys) save(root paths.Root) error {
	if err := save(root.EnrolmentKey(), k); err != nil {
		return err
	}
	// The folder may be new: its own name must survive a power cut as well.
	return atomicfile.SyncDir(filepath.Dir(filepath.Dir(root.EnrolmentKey())))
}

// inUse is the key that signs: Next as soon as the platform knows it.
func (k *keys) inUse() ed25519.PrivateKey {
	if k.NextKnown {
		return ed25519.NewKeyFromSeed(k.Next)
	}
	return ed25519.NewKeyFromSeed(k.Current)
}

// proposal is the key that is proposed besides, or nil.
func (k *keys) proposal() ed25519.PrivateKey {
	if k.NextKnown || len(k.Next) == 0 {
		return nil
	}
	return ed25519.NewKeyFromSeed(k.Next)
}

// accepted returns the keys after the platform has accepted a proof by used
// that proposed what (nil for nothing).
func (k keys) accepted(used, proposed ed25519.PrivateKey, rotate bool) keys {
	k.Enrolled, k.Attested = true, true
	switch {
	case k.NextKnown && bytes.Equal(used.Seed(), k.Next):
		k.Current, k.Next, k.NextKnown = k.Next, nil, false
	case proposed != nil && bytes.Equal(proposed.Seed(), k.Next):
		k.NextKnown = true
	}
	if rotate && len(k.Next) == 0 {
		k.Next = newSeed()
	}
	return k
}

func newSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails, see crypto/rand
	return seed
}

func public(k ed25519.PrivateKey) []byte {
	if k == nil {
		return nil
	}
	return k.Public().(ed25519.PublicKey) // documented to be one
}
