// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

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
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
)

// update is one walk from the root of trust to what a mirror has.
type update struct {
	ctx  context.Context //nolint:containedctx // lives as long as one Refresh
	get  Getter
	base string
	dir  string
	now  time.Time
	root *rootDoc
}

// prepare begins with the newest root that was reached from the image's own.
// Files that a power cut has torn are removed.
func (c *Client) prepare() (*update, error) {
	baked, err := readRoot(c.Root)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	sum := sha256.Sum256(c.Root)
	u := &update{get: c.Get, dir: filepath.Join(c.Dir, hex.EncodeToString(sum[:8])), now: time.Now(), root: baked}
	if c.Now != nil {
		u.now = c.Now()
	}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return nil, err
	}
	for _, role := range []string{roleRoot, roleTimestamp, roleSnapshot, roleTargets} {
		text, err := os.ReadFile(u.file(role))
		if err == nil && !json.Valid(text) {
			_ = os.Remove(u.file(role))
			continue
		}
		if err != nil || role != roleRoot {
			continue
		}
		if seen, err := readRoot(text); err == nil && seen.Version > baked.Version {
			u.root = seen
		}
	}
	return u, nil
}

// file is where the last trusted document of a role lies.
func (u *update) file(role string) string { return filepath.Join(u.dir, role+".json") }

func (u *update) save(role string, raw []byte) error {
	if have, err := os.ReadFile(u.file(role)); err == nil && string(have) == string(raw) {
		return nil
	}
	return atomicfile.Write(u.file(role), raw, 0o600)
}

func (u *update) fetch(name string, limit int64) ([]byte, error) {
	return u.get.Get(u.ctx, fetch.Join(u.base, path.Join(MetadataDir, name)), limit)
}

// updateRoot follows the chain of roots: each is signed by the keys of the one
// before and by its own. The last one must not have expired.
func (u *update) updateRoot() error {
	for range maxRotations {
		name := fmt.Sprintf("%d.root.json", u.root.Version+1)
		raw, err := u.fetch(name, maxRoot)
		var status *fetch.StatusError
		// A bucket that may not be listed says 403 for what it has not. Who
		// could answer so to hide a new root could as well answer 404.
		if errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusForbidden) {
			break
		}
		if err != nil {
			return err
		}
		next := &rootDoc{}
		d, err := parse(raw, roleRoot, next)
		if err != nil {
			return err
		}
		if err := errors.Join(u.root.vouches(roleRoot, d), next.vouches(roleRoot, d)); err != nil {
			return err
		}
		if next.Version != u.root.Version+1 {
			return fmt.Errorf("%w: %s says that it is version %d", ErrRefused, name, next.Version)
		}
		u.root = next
		if err := u.save(roleRoot, raw); err != nil {
			return err
		}
	}
	return u.root.expired("root.json", u.now)
}

// trusted reads the last trusted document of a role, if the keys of today's
// root vouch for it: new keys make forgotten what old ones signed, which ends
// version numbers that were driven up.
func (u *update) trusted(role string, into any) bool {
	raw, err := os.ReadFile(u.file(role))
	if err != nil {
		return false
	}
	d, err := parse(raw, role, into)
	return err == nil && u.root.vouches(role, d) == nil
}

// updateTimestamp gets the one document whose name never changes. It must not
// be older than the last one.
func (u *update) updateTimestamp() (*indexDoc, error) {
	raw, err := u.fetch("timestamp.json", maxTimestamp)
	if err != nil {
		return nil, err
	}
	t := &indexDoc{}
	d, err := parse(raw, roleTimestamp, t)
	if err == nil {
		err = u.root.vouches(roleTimestamp, d)
	}
	if err != nil {
		return nil, err
	}
	old := &indexDoc{}
	if u.trusted(roleTimestamp, old) {
		switch {
		case t.Version < old.Version:
			return nil, older("timestamp.json", t.Version, old.Version)
		case t.Version == old.Version:
			t, raw = old, nil
		case t.Meta["snapshot.json"].Version < old.Meta["snapshot.json"].Version:
			return nil, older("snapshot.json", t.Meta["snapshot.json"].Version, old.Meta["snapshot.json"].Version)
		}
	}
	if err := t.expired("timestamp.json", u.now); err != nil {
		return nil, err
	}
	if raw == nil {
		return t, nil
	}
	return t, u.save(roleTimestamp, raw)
}

func older(name string, is, was int64) error {
	return fmt.Errorf("%w: %s is version %d, older than version %d that was seen before (a rollback)", ErrRefused, name, is, was)
}

// updateSnapshot gets the snapshot that the timestamp names.
func (u *update) updateSnapshot(t *indexDoc) (*indexDoc, error) {
	want, ok := t.Meta["snapshot.json"]
	if !ok {
		return nil, fmt.Errorf("%w: timestamp.json names no snapshot", ErrRefused)
	}
	old := &indexDoc{}
	known := u.trusted(roleSnapshot, old)
	s := &indexDoc{}
	raw, err := u.named(roleSnapshot, want, maxSnapshot, s)
	if err != nil {
		return nil, err
	}
	if s.Version != want.Version {
		return nil, fmt.Errorf("%w: snapshot.json is version %d, signed is %d", ErrRefused, s.Version, want.Version)
	}
	for name, was := range old.Meta {
		if is, ok := s.Meta[name]; known && (!ok || is.Version < was.Version) {
			return nil, older(name, is.Version, was.Version)
		}
	}
	if err := s.expired("snapshot.json", u.now); err != nil {
		return nil, err
	}
	return s, u.save(roleSnapshot, raw)
}

// updateTargets gets the list of files that the snapshot names.
func (u *update) updateTargets(s *indexDoc) (*targetsDoc, error) {
	want, ok := s.Meta["targets.json"]
	if !ok {
		return nil, fmt.Errorf("%w: snapshot.json names no targets", ErrRefused)
	}
	t := &targetsDoc{}
	raw, err := u.named(roleTargets, want, maxTargets, t)
	if err != nil {
		return nil, err
	}
	if t.Version != want.Version {
		return nil, fmt.Errorf("%w: targets.json is version %d, signed is %d", ErrRefused, t.Version, want.Version)
	}
	if err := t.expired("targets.json", u.now); err != nil {
		return nil, err
	}
	return t, u.save(roleTargets, raw)
}

// named gets a document that another one names, from the mirror unless it is
// there, and checks it against its entry and the keys of its role.
func (u *update) named(role string, want metaFile, limit int64, into any) ([]byte, error) {
	name := role + ".json"
	raw, err := os.ReadFile(u.file(role))
	if len(want.Hashes) == 0 || err != nil || want.fits(name, raw) != nil {
		if want.Length > 0 && want.Length < limit {
			limit = want.Length
		}
		if raw, err = u.fetch(fmt.Sprintf("%d.%s", want.Version, name), limit); err != nil {
			return nil, err
		}
		if err := want.fits(name, raw); err != nil {
			return nil, err
		}
	}
	d, err := parse(raw, role, into)
	if err == nil {
		err = u.root.vouches(role, d)
	}
	return raw, err
}
