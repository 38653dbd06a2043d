// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type keyPairReply struct {
	meta
	keyPairItem
	Material string `xml:"keyMaterial,omitempty"`
}

type keyPairItem struct {
	Name        string       `xml:"keyName"`
	ID          string       `xml:"keyPairId"`
	Fingerprint string       `xml:"keyFingerprint"`
	Type        string       `xml:"keyType,omitempty"`
	Created     string       `xml:"createTime,omitempty"`
	PublicKey   string       `xml:"publicKey,omitempty"`
	Tags        set[tagItem] `xml:"tagSet"`
}

func keyItem(k store.KeyPair) keyPairItem {
	return keyPairItem{Name: k.Name, ID: k.ID, Fingerprint: k.Fingerprint, Type: k.Type, Created: stamp(k.Created), Tags: tagSet(k.Tags)}
}

// importKeyPair stores a public key in OpenSSH form. The fingerprint is the
// SHA-256 one for every type.
func (s *Service) importKeyPair(r *request) (reply, error) {
	name, text := r.str("KeyName"), r.str("PublicKeyMaterial")
	tags := r.tagSpecs("key-pair")["key-pair"]
	for field, value := range map[string]string{"KeyName": name, "PublicKeyMaterial": text} {
		if value == "" {
			r.fail(missing(field))
		}
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		r.fail(call.Errorf("InvalidKey.Format", "Key is not base64: %v", err))
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		r.fail(call.Errorf("InvalidKey.Format", "Key is not in valid OpenSSH public key format"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	k, err := s.addKey(r, name, pub, tags)
	if err != nil {
		return nil, err
	}
	return &keyPairReply{keyPairItem: keyItem(k)}, nil
}

func (s *Service) addKey(r *request, name string, pub ssh.PublicKey, tags map[string]string) (store.KeyPair, error) {
	kind := strings.TrimPrefix(pub.Type(), "ssh-")
	k := store.KeyPair{
		ID: store.NewID("key"), Name: name, Type: kind, Fingerprint: ssh.FingerprintSHA256(pub), Tags: tags, Created: s.Store.Now().UTC(),
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + name,
	}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, other := range reg.KeyPairs.All() {
			if other.Name == name {
				return call.Errorf("InvalidKeyPair.Duplicate", "The keypair already exists")
			}
		}
		return reg.KeyPairs.Put(k)
	})
	return k, err
}

// createKeyPair makes a key and shows its private half this once.
func (s *Service) createKeyPair(r *request) (reply, error) {
	name, kind := r.str("KeyName"), r.oneOf("KeyType", "rsa", "rsa", "ed25519")
	_ = r.oneOf("KeyFormat", "pem", "pem")
	tags := r.tagSpecs("key-pair")["key-pair"]
	if name == "" {
		r.fail(missing("KeyName"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	pub, private, err := makeKey(kind)
	if err != nil {
		return nil, err
	}
	k, err := s.addKey(r, name, pub, tags)
	if err != nil {
		return nil, err
	}
	return &keyPairReply{keyPairItem: keyItem(k), Material: private}, nil
}

func makeKey(kind string) (ssh.PublicKey, string, error) {
	var public, private any
	if kind == "ed25519" {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, "", fmt.Errorf("make key: %w", err)
		}
		public, private = pub, key
	} else {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, "", fmt.Errorf("make key: %w", err)
		}
		public, private = &key.PublicKey, key
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, "", fmt.Errorf("make key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, "", fmt.Errorf("make key: %w", err)
	}
	return pub, string(pem.EncodeToMemory(block)), nil
}

type describeKeyPairsReply struct {
	meta
	KeyPairs set[keyPairItem] `xml:"keySet"`
}

func (s *Service) describeKeyPairs(r *request) (reply, error) {
	names, ids, filters := r.list("KeyName"), r.list("KeyPairId"), r.filters()
	withKey := r.flag("IncludePublicKey", false)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var rows []store.KeyPair
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = reg.KeyPairs.All()
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(rows, func(k store.KeyPair) bool { return k.Name == name }) {
			return nil, call.Errorf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
		}
	}
	rows = slices.DeleteFunc(rows, func(k store.KeyPair) bool {
		return len(names) > 0 && !slices.Contains(names, k.Name) || len(ids) > 0 && !slices.Contains(ids, k.ID)
	})
	rows, err = attributes[store.KeyPair]{
		tags: func(k store.KeyPair) map[string]string { return k.Tags },
		fields: map[string]func(store.KeyPair) []string{
			"key-name":    only(func(k store.KeyPair) string { return k.Name }),
			"key-pair-id": only(func(k store.KeyPair) string { return k.ID }),
			"fingerprint": only(func(k store.KeyPair) string { return k.Fingerprint }),
		},
	}.keep(rows, filters)
	if err != nil {
		return nil, err
	}
	out := &describeKeyPairsReply{}
	for _, k := range rows {
		item := keyItem(k)
		if withKey {
			item.PublicKey = k.PublicKey
		}
		out.KeyPairs.Items = append(out.KeyPairs.Items, item)
	}
	return out, nil
}

type deleteKeyPairReply struct {
	meta
	Return bool   `xml:"return"`
	ID     string `xml:"keyPairId,omitempty"`
}

// deleteKeyPair removes a key by name or id; an unknown one is no error, as on AWS.
func (s *Service) deleteKeyPair(r *request) (reply, error) {
	name, id := r.str("KeyName"), r.str("KeyPairId")
	if name == "" && id == "" {
		r.fail(missing("KeyName"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &deleteKeyPairReply{Return: true}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		for _, k := range reg.KeyPairs.All() {
			if k.Name == name || k.ID == id {
				out.ID = k.ID
				return reg.KeyPairs.Delete(k.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
