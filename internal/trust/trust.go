// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package trust reads a mirror's signed metadata (TUF) from a root of trust on.
// It refuses what is not signed, older than what was seen before, expired,
// mixed from several states, or larger than it may be.
//
// It is a client of its own, for ed25519 keys and the four top-level roles, since
// the library that makes our repositories costs every start of bootstrap more
// than the whole boot may; the tests hold the two against each other.
package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

// MetadataDir is where a mirror's metadata lies below its address.
const MetadataDir = "metadata"

// Limits on what a mirror may send, in bytes. A repository of a thousand
// packages has some 400 KB of targets.
const (
	maxRoot      = 256 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 64 << 10
	maxTargets   = 4 << 20
	maxRotations = 128
)

// ErrRefused means that a mirror's metadata is not to be trusted.
var ErrRefused = errors.New("metadata refused")

// ErrRoot means that the root of trust itself cannot be used.
var ErrRoot = errors.New("no usable root of trust")

// Getter gets small documents; *fetch.Client is one.
type Getter interface {
	Get(ctx context.Context, address string, limit int64) ([]byte, error)
}

// Client checks mirrors that carry the same repository.
type Client struct {
	// Root is the root of trust that the image was made with.
	Root []byte
	// Dir keeps what was last trusted, which is what protects from being shown
	// an older state. Each root of trust has a folder of its own in it.
	Dir string
	Get Getter
	// Now replaces the clock in tests.
	Now func() time.Time
}

// File is one file that the metadata vouches for.
type File struct {
	// Target is its path in the mirror.
	Target string
	fetch.File
	pkgname.Info
}

// Catalogue is what a mirror has.
type Catalogue struct {
	Files []File
	// Expires is when the metadata has to be renewed.
	Expires time.Time
	// Root, Targets and Timestamp are the versions of the metadata.
	Root, Targets, Timestamp int64
}

// Refresh reads the metadata of the mirror at an address: TUF's client workflow,
// step by step.
func (c *Client) Refresh(ctx context.Context, base string) (*Catalogue, error) {
	u, err := c.prepare()
	if err != nil {
		return nil, err
	}
	u.ctx, u.base = ctx, base
	if err := u.updateRoot(); err != nil {
		return nil, err
	}
	timestamp, err := u.updateTimestamp()
	if err != nil {
		return nil, err
	}
	snapshot, err := u.updateSnapshot(timestamp)
	if err != nil {
		return nil, err
	}
	targets, err := u.updateTargets(snapshot)
	if err != nil {
		return nil, err
	}
	return catalogue(u.root, timestamp, targets)
}

// CheckRoot says what is wrong with a root of trust.
func CheckRoot(data []byte) error {
	root, err := readRoot(data)
	if err == nil {
		err = root.expired("root.json", time.Now())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRoot, err)
	}
	return nil
}

// readRoot reads a root that vouches for itself.
func readRoot(data []byte) (*rootDoc, error) {
	root := &rootDoc{}
	d, err := parse(data, roleRoot, root)
	if err == nil {
		err = root.vouches(roleRoot, d)
	}
	return root, err
}

func catalogue(root *rootDoc, timestamp *indexDoc, targets *targetsDoc) (*Catalogue, error) {
	cat := &Catalogue{Root: root.Version, Timestamp: timestamp.Version, Targets: targets.Version, Expires: timestamp.Expires}
	for target, t := range targets.Targets {
		sum := t.Hashes["sha256"]
		if len(sum) != hex.EncodedLen(sha256.Size) || t.Length < 1 || !filepath.IsLocal(target) || path.Clean(target) != target {
			return nil, fmt.Errorf("%w: target %q has no SHA-256, length or clean path", ErrRefused, target)
		}
		info, err := pkgname.FromRaw(target, t.Custom)
		if err != nil {
			continue // a file that is none of our business
		}
		cat.Files = append(cat.Files, File{Target: target, File: fetch.File{Length: t.Length, SHA256: sum}, Info: info})
	}
	slices.SortFunc(cat.Files, func(a, b File) int { return strings.Compare(a.Target, b.Target) })
	return cat, nil
}

// Channel returns the version that a channel points to for an architecture: the
// highest one.
func (c *Catalogue) Channel(name, arch string) (string, bool) {
	best := ""
	for _, f := range c.Files {
		if f.Format != pkgname.Patch && f.Arch == arch && slices.Contains(f.Channels, name) &&
			(best == "" || pkgname.Compare(f.Version, best) > 0) {
			best = f.Version
		}
	}
	return best, best != ""
}

// Named returns the file with a base name.
func (c *Catalogue) Named(file string) (File, bool) {
	for _, f := range c.Files {
		if path.Base(f.Target) == file {
			return f, true
		}
	}
	return File{}, false
}

// ByDigest returns the file with a SHA-256.
func (c *Catalogue) ByDigest(sum string) (File, bool) {
	for _, f := range c.Files {
		if strings.EqualFold(f.SHA256, sum) {
			return f, true
		}
	}
	return File{}, false
}

// Patch returns the highest patch of a version for an architecture.
func (c *Catalogue) Patch(version, arch string) (File, bool) {
	var best File
	for _, f := range c.Files {
		if f.Format == pkgname.Patch && f.Version == version && f.Arch == arch && f.Patch > best.Patch {
			best = f
		}
	}
	return best, best.Patch > 0
}

// Document is one metadata file as it was signed.
type Document struct {
	Name string // as in a mirror: "4.targets.json"
	Data []byte
}

// Trusted returns the metadata that the last Refresh trusted, the timestamp
// last, the order in which a copy has to be written.
func (c *Client) Trusted() ([]Document, error) {
	u, err := c.prepare()
	if err != nil {
		return nil, err
	}
	var list []Document
	for _, role := range []string{roleRoot, roleTargets, roleSnapshot, roleTimestamp} {
		data, err := os.ReadFile(u.file(role))
		if err != nil && role == roleRoot {
			data, err = c.Root, nil // it is the one that we began with
		}
		if err != nil {
			return nil, err
		}
		var d struct {
			Signed head `json:"signed"`
		}
		if err := json.Unmarshal(data, &d); err != nil {
			return nil, err
		}
		name := role + ".json"
		if role != roleTimestamp {
			name = fmt.Sprintf("%d.%s", d.Signed.Version, name)
		}
		list = append(list, Document{Name: name, Data: data})
	}
	return list, nil
}
