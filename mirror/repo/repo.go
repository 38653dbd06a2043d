// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package repo makes a mirror: a folder of RightLink packages and patches with
// signed metadata (TUF), as plain files that any web server, bucket or CDN can
// carry. Packages lie at <version>/<file>, as in the original's bucket;
// metadata lies in metadata/.
package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// Expiry is how long each role's signature holds. The timestamp's bounds how
// long an old state can be shown to an instance (a freeze).
type Expiry struct {
	Root, Targets, Snapshot, Timestamp time.Duration
}

const day = 24 * time.Hour

// DefaultExpiry suits a mirror that a scheduled job signs daily.
func DefaultExpiry() Expiry {
	return Expiry{Root: 730 * day, Targets: 365 * day, Snapshot: 14 * day, Timestamp: 14 * day}
}

// Errors of this package.
var (
	// ErrExists means that there is a repository already.
	ErrExists = errors.New("there is a repository already")
	// ErrNone means that a folder holds no repository.
	ErrNone = errors.New("no repository; make one with \"rightimage mirror init\"")
	// ErrChanged means that a published file would get another content.
	ErrChanged = errors.New("a published file never changes; give the package a new version")
)

// Repo is a repository whose metadata can be signed.
type Repo struct {
	// Dir is the folder to serve.
	Dir    string
	Keys   Keys
	Expiry Expiry
	// Now is the clock, for tests.
	Now func() time.Time

	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
}

// Init makes an empty repository with a new key for each role.
func Init(dir string, keys Keys, expiry Expiry) (*Repo, error) {
	r := &Repo{Dir: dir, Keys: keys, Expiry: expiry, Now: time.Now}
	if entries, err := filepath.Glob(filepath.Join(r.metadataDir(), "*.json")); err != nil || len(entries) > 0 {
		return nil, errors.Join(err, fmt.Errorf("%w in %s", ErrExists, dir))
	}
	if err := keys.outside(dir); err != nil {
		return nil, err
	}
	r.root = metadata.Root(r.until(expiry.Root))
	r.targets = metadata.Targets(r.until(expiry.Targets))
	r.snapshot = metadata.Snapshot(r.until(expiry.Snapshot))
	r.timestamp = metadata.Timestamp(r.until(expiry.Timestamp))
	for _, role := range allRoles() {
		key, err := keys.create(role)
		if err != nil {
			return nil, err
		}
		if err := r.root.Signed.AddKey(key, role); err != nil {
			return nil, err
		}
	}
	if err := r.signRoot(keys); err != nil {
		return nil, err
	}
	r.targets.Signed.Version, r.snapshot.Signed.Version, r.timestamp.Signed.Version = 0, 0, 0
	return r, r.publish(true)
}

// Open reads a repository.
func Open(dir string, keys Keys, expiry Expiry) (*Repo, error) {
	r := &Repo{Dir: dir, Keys: keys, Expiry: expiry, Now: time.Now}
	n, err := r.latestRoot()
	if err != nil {
		return nil, err
	}
	if r.root, err = metadata.Root().FromFile(r.metadataFile(n, metadata.ROOT)); err != nil {
		return nil, fmt.Errorf("repository %s: root: %w", dir, err)
	}
	if r.timestamp, err = metadata.Timestamp().FromFile(r.metadataFile(0, metadata.TIMESTAMP)); err != nil {
		return nil, fmt.Errorf("repository %s: timestamp: %w", dir, err)
	}
	if r.snapshot, err = metadata.Snapshot().FromFile(r.metadataFile(r.timestamp.Signed.Meta["snapshot.json"].Version, metadata.SNAPSHOT)); err != nil {
		return nil, fmt.Errorf("repository %s: snapshot: %w", dir, err)
	}
	if r.targets, err = metadata.Targets().FromFile(r.metadataFile(r.snapshot.Signed.Meta["targets.json"].Version, metadata.TARGETS)); err != nil {
		return nil, fmt.Errorf("repository %s: targets: %w", dir, err)
	}
	return r, nil
}

// RootFile is the newest root of trust, which images are made with.
func (r *Repo) RootFile() string { return r.metadataFile(r.root.Signed.Version, metadata.ROOT) }

func (r *Repo) metadataDir() string { return filepath.Join(r.Dir, trust.MetadataDir) }

// metadataFile has the version before its name, but for the timestamp (0).
func (r *Repo) metadataFile(version int64, role string) string {
	name := role + ".json"
	if version > 0 {
		name = strconv.FormatInt(version, 10) + "." + name
	}
	return filepath.Join(r.metadataDir(), name)
}

func (r *Repo) latestRoot() (int64, error) {
	files, err := filepath.Glob(filepath.Join(r.metadataDir(), "*.root.json"))
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, f := range files {
		number, _, _ := strings.Cut(filepath.Base(f), ".")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			latest = max(latest, n)
		}
	}
	if latest == 0 {
		return 0, fmt.Errorf("%s: %w", r.Dir, ErrNone)
	}
	return latest, nil
}

func (r *Repo) until(d time.Duration) time.Time { return r.Now().Add(d).UTC().Truncate(time.Second) }

// publish signs and writes targets (when they changed), snapshot and timestamp,
// in the order that never shows a reader something that is not there yet.
func (r *Repo) publish(targets bool) error {
	if targets {
		s := &r.targets.Signed
		s.Version, s.Expires = s.Version+1, r.until(r.Expiry.Targets)
		if err := seal(r, r.targets, s.Version, metadata.TARGETS); err != nil {
			return err
		}
	}
	s := &r.snapshot.Signed
	s.Version, s.Expires = s.Version+1, r.until(r.Expiry.Snapshot)
	file, err := describe(r.metadataFile(r.targets.Signed.Version, metadata.TARGETS), r.targets.Signed.Version)
	if err != nil {
		return err
	}
	s.Meta["targets.json"] = file
	if err := seal(r, r.snapshot, s.Version, metadata.SNAPSHOT); err != nil {
		return err
	}
	return r.stamp()
}

// stamp signs and writes the timestamp: from here on readers see the rest.
func (r *Repo) stamp() error {
	t := &r.timestamp.Signed
	t.Version, t.Expires = t.Version+1, r.until(r.Expiry.Timestamp)
	file, err := describe(r.metadataFile(r.snapshot.Signed.Version, metadata.SNAPSHOT), r.snapshot.Signed.Version)
	if err != nil {
		return err
	}
	t.Meta["snapshot.json"] = file
	return seal(r, r.timestamp, 0, metadata.TIMESTAMP)
}

// seal signs and writes a role's metadata; version 0 has no number in its name.
func seal[T metadata.Roles](r *Repo, m *metadata.Metadata[T], version int64, role string) error {
	if err := sign(r, m, role); err != nil {
		return err
	}
	return write(r, m, version, role)
}

// describe is the entry of a metadata file in the one above it: its digest too,
// so that states cannot be mixed.
func describe(path string, version int64) (*metadata.MetaFiles, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file := metadata.MetaFile(version)
	sums, err := metadata.TargetFile().FromBytes(path, data, "sha256")
	if err != nil {
		return nil, err
	}
	file.Length, file.Hashes = sums.Length, sums.Hashes
	return file, nil
}

func write[T metadata.Roles](r *Repo, m *metadata.Metadata[T], version int64, role string) error {
	data, err := m.ToBytes(true)
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(r.metadataFile(version, role), append(data, '\n'), 0o644, 0o755)
}

func allRoles() []string {
	return []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}
}
