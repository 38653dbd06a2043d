// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package trust reads a mirror's signed metadata (TUF) from a root of trust on.
// It refuses what is not signed, older than what was seen before, expired,
// mixed from several states, or larger than it may be.
package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
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

// Refresh reads the metadata of the mirror at an address.
func (c *Client) Refresh(ctx context.Context, base string) (*Catalogue, error) {
	dir, root, err := c.prepare()
	if err != nil {
		return nil, err
	}
	cfg, err := config.New(fetch.Join(base, MetadataDir), root)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	cfg.RemoteMetadataURL, cfg.RemoteTargetsURL = base, base
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = dir, dir
	cfg.RootMaxLength, cfg.TimestampMaxLength, cfg.SnapshotMaxLength, cfg.TargetsMaxLength = maxRoot, maxTimestamp, maxSnapshot, maxTargets
	cfg.MaxRootRotations, cfg.MaxDelegations, cfg.PrefixTargetsWithHash = maxRotations, 1, false
	cfg.Fetcher = adapter{ctx: ctx, get: c.Get, base: base}
	u, err := updater.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	u.UnsafeSetRefTime(now)
	if err := u.Refresh(); err != nil {
		return nil, c.explain(err, now)
	}
	if err := atomicfile.SyncDir(dir); err != nil {
		return nil, err
	}
	return catalogue(u)
}

// CheckRoot says what is wrong with a root of trust.
func CheckRoot(data []byte) error {
	root, err := metadata.Root().FromBytes(data)
	if err == nil {
		err = root.VerifyDelegate(metadata.ROOT, root)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRoot, err)
	}
	if root.Signed.IsExpired(time.Now()) {
		return fmt.Errorf("%w: it expired on %s; take the mirror's newest root.json", ErrRoot, root.Signed.Expires.Format(time.DateOnly))
	}
	return nil
}

// prepare returns the folder of this root of trust and the newest root that was
// reached from it. Files that a power cut has torn are removed.
func (c *Client) prepare() (dir string, root []byte, err error) {
	baked, err := metadata.Root().FromBytes(c.Root)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	sum := sha256.Sum256(c.Root)
	dir = filepath.Join(c.Dir, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	root = c.Root
	for _, name := range []string{"root", "timestamp", "snapshot", "targets"} {
		file := filepath.Join(dir, name+".json")
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if !json.Valid(text) {
			_ = os.Remove(file)
			continue
		}
		if name != "root" {
			continue
		}
		if seen, err := metadata.Root().FromBytes(text); err == nil && seen.Signed.Version > baked.Signed.Version && seen.VerifyDelegate("root", seen) == nil {
			root = text
		}
	}
	return dir, root, nil
}

// explain makes one class of what the library refuses, and tells the most
// likely reason of an expiry.
func (c *Client) explain(err error, now time.Time) error {
	var download *metadata.ErrDownload
	var status *metadata.ErrDownloadHTTP
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return fmt.Errorf("%w: %w (the clock says %s; if that is right, the mirror must be signed again: rightimage mirror sign)", ErrRefused, err, now.UTC().Format(time.DateOnly))
	case errors.As(err, &status), errors.As(err, &download), isTransport(err):
		return err
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// transportError is a failure to get a document, not one of its content.
type transportError struct{ error }

func (e transportError) Unwrap() error { return e.error }

func isTransport(err error) bool {
	var t transportError
	return errors.As(err, &t) && !errors.Is(err, fetch.ErrTooLong)
}

// adapter lets the library fetch through our client.
type adapter struct {
	ctx  context.Context //nolint:containedctx // the library's interface has none
	get  Getter
	base string
}

// DownloadFile implements the library's Fetcher.
func (a adapter) DownloadFile(address string, limit int64, _ time.Duration) ([]byte, error) {
	name := path.Base(address)
	data, err := a.get.Get(a.ctx, fetch.Join(a.base, path.Join(MetadataDir, name)), limit)
	var status *fetch.StatusError
	if errors.As(err, &status) {
		code := status.Code
		// A bucket that may not be listed says 403 for what it has not. Who
		// could answer so to hide a new root could as well answer 404.
		if strings.HasSuffix(name, ".root.json") && code == http.StatusForbidden {
			code = http.StatusNotFound
		}
		return nil, &metadata.ErrDownloadHTTP{StatusCode: code, URL: status.URL}
	}
	if err != nil {
		return nil, transportError{err}
	}
	return data, nil
}

func catalogue(u *updater.Updater) (*Catalogue, error) {
	set := u.GetTrustedMetadataSet()
	cat := &Catalogue{Root: set.Root.Signed.Version, Timestamp: set.Timestamp.Signed.Version, Expires: set.Timestamp.Signed.Expires}
	targets := set.Targets[metadata.TARGETS].Signed
	cat.Targets = targets.Version
	for target, t := range targets.Targets {
		sum, ok := t.Hashes["sha256"]
		if !ok || !filepath.IsLocal(target) || path.Clean(target) != target {
			return nil, fmt.Errorf("%w: target %q has no SHA-256 or no clean path", ErrRefused, target)
		}
		info, err := pkgname.FromRaw(target, t.Custom)
		if err != nil {
			continue // a file that is none of our business
		}
		cat.Files = append(cat.Files, File{Target: target, File: fetch.File{Length: t.Length, SHA256: hex.EncodeToString(sum)}, Info: info})
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
		if f.Format == pkgname.Patch && f.Version == version && f.Arch == arch && f.Info.Patch > best.Info.Patch {
			best = f
		}
	}
	return best, best.Info.Patch > 0
}

// Document is one metadata file as it was signed.
type Document struct {
	Name string // as in a mirror: "4.targets.json"
	Data []byte
}

// Trusted returns the metadata that the last Refresh trusted, the timestamp
// last, the order in which a copy has to be written.
func (c *Client) Trusted() ([]Document, error) {
	dir, _, err := c.prepare()
	if err != nil {
		return nil, err
	}
	var list []Document
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		data, err := os.ReadFile(filepath.Join(dir, role+".json"))
		if err != nil {
			return nil, err
		}
		var head struct {
			Signed struct {
				Version int64 `json:"version"`
			} `json:"signed"`
		}
		if err := json.Unmarshal(data, &head); err != nil {
			return nil, err
		}
		name := role + ".json"
		if role != metadata.TIMESTAMP {
			name = fmt.Sprintf("%d.%s", head.Signed.Version, name)
		}
		list = append(list, Document{Name: name, Data: data})
	}
	return list, nil
}
