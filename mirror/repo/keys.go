// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package repo

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// ErrKey means that a role's key is not there, or not the right one.
var ErrKey = errors.New("signing key")

// Keys is the folder with the private keys, <role>.key, ed25519 in PKCS 8, mode
// 0600. It must not be what is served. Keys of root and targets belong on a
// machine without network; snapshot's and timestamp's sign every day.
type Keys struct{ Dir string }

func (k Keys) file(role string) string { return filepath.Join(k.Dir, role+".key") }

// outside refuses a key folder that would be served.
func (k Keys) outside(dir string) error {
	keys, err1 := filepath.Abs(k.Dir)
	served, err2 := filepath.Abs(dir)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if rel, err := filepath.Rel(served, keys); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%w: %s lies in the folder that is served, %s; choose another --keys", ErrKey, k.Dir, dir)
	}
	return nil
}

// create makes a key; it never replaces one.
func (k Keys) create(role string) (*metadata.Key, error) {
	if _, err := os.Lstat(k.file(role)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is there already", ErrKey, k.file(role))
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := atomicfile.WriteMkdir(k.file(role), text, 0o600, 0o700); err != nil {
		return nil, err
	}
	return metadata.KeyFromPublicKey(public)
}

// load reads a private key.
func (k Keys) load(role string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(k.file(role))
	if err != nil {
		return nil, fmt.Errorf("%w of %s: %w; --keys names the folder with the keys", ErrKey, role, err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w of %s: %s is no PEM file", ErrKey, role, k.file(role))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w of %s: %s is no ed25519 key", ErrKey, role, k.file(role))
	}
	return private, nil
}

// sign signs with the role's key, which must be the one that root names.
func sign[T metadata.Roles](r *Repo, m *metadata.Metadata[T], role string) error {
	m.ClearSignatures()
	return addSignature(r.root, r.Keys, m, role)
}

func addSignature[T metadata.Roles](root *metadata.Metadata[metadata.RootType], keys Keys, m *metadata.Metadata[T], role string) error {
	private, err := keys.load(role)
	if err != nil {
		return err
	}
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		return err
	}
	sig, err := m.Sign(signer)
	if err != nil {
		return err
	}
	if root != nil && !slices.Contains(root.Signed.Roles[role].KeyIDs, sig.KeyID) {
		return fmt.Errorf("%w of %s: %s is not the key that the root of this repository names", ErrKey, role, keys.file(role))
	}
	return nil
}

// signRoot signs the root with its key in each of the folders: the new one and,
// after a rotation, the old one.
func (r *Repo) signRoot(folders ...Keys) error {
	r.root.ClearSignatures()
	for _, k := range folders {
		if err := addSignature(nil, k, r.root, metadata.ROOT); err != nil {
			return err
		}
	}
	return write(r, r.root, r.root.Signed.Version, metadata.ROOT)
}

// Sign renews signatures before they expire: of snapshot and timestamp always,
// of targets and root when they are named.
func (r *Repo) Sign(roles ...string) error {
	if slices.Contains(roles, metadata.ROOT) {
		r.root.Signed.Version++
		r.root.Signed.Expires = r.until(r.Expiry.Root)
		if err := r.signRoot(r.Keys); err != nil {
			return err
		}
	}
	return r.publish(slices.Contains(roles, metadata.TARGETS))
}

// Rotate gives roles new keys. Old keys go to old-<time> beside the new ones;
// the old root key signs the new root, so that images with the old root follow.
func (r *Repo) Rotate(roles ...string) error {
	for _, role := range roles {
		if !slices.Contains(allRoles(), role) {
			return fmt.Errorf("%w: there is no role %q; roles are %s", ErrKey, role, strings.Join(allRoles(), ", "))
		}
	}
	old := Keys{filepath.Join(r.Keys.Dir, "old-"+r.Now().UTC().Format("20060102T150405.000000000"))}
	if _, err := r.Keys.load(metadata.ROOT); err != nil {
		return err
	}
	if err := os.MkdirAll(old.Dir, 0o700); err != nil {
		return err
	}
	folders := []Keys{r.Keys}
	for _, role := range roles {
		if err := os.Rename(r.Keys.file(role), old.file(role)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		key, err := r.Keys.create(role)
		if err != nil {
			return err
		}
		for _, id := range slices.Clone(r.root.Signed.Roles[role].KeyIDs) {
			if err := r.root.Signed.RevokeKey(id, role); err != nil {
				return err
			}
		}
		if err := r.root.Signed.AddKey(key, role); err != nil {
			return err
		}
		if role == metadata.ROOT {
			folders = append(folders, old)
		}
	}
	r.root.Signed.Version++
	r.root.Signed.Expires = r.until(r.Expiry.Root)
	if err := r.signRoot(folders...); err != nil {
		return err
	}
	return r.publish(slices.Contains(roles, metadata.TARGETS))
}

// Expiring lists roles whose signature ends within a time.
func (r *Repo) Expiring(within time.Duration) []string {
	limit := r.Now().Add(within)
	var out []string
	for role, at := range map[string]time.Time{
		metadata.ROOT: r.root.Signed.Expires, metadata.TARGETS: r.targets.Signed.Expires,
		metadata.SNAPSHOT: r.snapshot.Signed.Expires, metadata.TIMESTAMP: r.timestamp.Signed.Expires,
	} {
		if at.Before(limit) {
			out = append(out, role)
		}
	}
	slices.Sort(out)
	return out
}
