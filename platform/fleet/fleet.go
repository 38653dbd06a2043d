// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fleet holds the platform's rules: how a ServerTemplate gets in, how a
// server gets its identity, who may enrol with it, what a boot bundle holds and
// how states and audit entries come about. The API and the admin CLI are two
// doors to it; neither has rules of its own.
package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/seal"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// DefaultAccount is the account that exists from the start.
const DefaultAccount int64 = 1

// SettingPublicHost names the setting with the host[:port] under which
// instances reach the platform.
const SettingPublicHost = "public_host"

// Service is the platform without its network side.
type Service struct {
	DB   *store.DB
	Keys *seal.Keys
	// Attest is what attested instances must show; the zero value believes AWS.
	Attest Attestation
	// Now is the clock; tests replace it.
	Now func() time.Time
}

// Place says where a platform keeps its things.
type Place struct {
	// Dir is the data directory.
	Dir string
	// Database is what store.Open takes; empty for a SQLite file in Dir.
	Database string
	// KeyFile holds the key that opens what is sealed in the database; empty for
	// secret.key in Dir. All replicas on one database have the same key.
	KeyFile string
}

// Location is where the database is.
func (p Place) Location() string {
	if p.Database != "" {
		return p.Database
	}
	return filepath.Join(p.Dir, "rightscaled.db")
}

// Key is where the key file is.
func (p Place) Key() string {
	if p.KeyFile != "" {
		return p.KeyFile
	}
	return filepath.Join(p.Dir, "secret.key")
}

// Open is OpenAt for a data directory that holds everything.
func Open(ctx context.Context, dir string) (*Service, error) {
	return OpenAt(ctx, Place{Dir: dir})
}

// OpenAt opens a platform, creating it at the first use: the database, and the
// key file that opens what is sealed in it.
func OpenAt(ctx context.Context, p Place) (*Service, error) {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	p.Database, p.KeyFile = p.Location(), p.Key()
	db, err := store.Open(ctx, p.Database)
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(ctx, db, p)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Service{DB: db, Keys: keys, Now: time.Now}, nil
}

// settingKeyCheck names the setting that tells one key from another and does not
// tell the key.
const settingKeyCheck = "key_check"

// openKeys reads the key file and makes sure that it is the one that belongs to
// the database. A database without any gets a new one.
func openKeys(ctx context.Context, db *store.DB, p Place) (*seal.Keys, error) {
	known, err := db.Setting(ctx, settingKeyCheck)
	if err != nil {
		return nil, err
	}
	sealed := known != ""
	if !sealed {
		// Databases of older versions have no such setting.
		if sealed, err = db.HasSealed(ctx); err != nil {
			return nil, err
		}
	}
	_, err = os.Stat(p.KeyFile)
	made := errors.Is(err, os.ErrNotExist) && !sealed
	keys, err := seal.Load(p.KeyFile, made)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing, but the database %s holds values sealed with it: restore the key file from a backup, copy it from another replica, or begin with a new database", p.KeyFile, store.Describe(p.Database))
	}
	if err != nil {
		return nil, err
	}
	check := hex.EncodeToString(keys.Sign("key check", ""))
	err = db.InTx(ctx, func(q *store.Queries) error {
		if known, err = q.Setting(ctx, settingKeyCheck); err != nil || known != "" {
			return err
		}
		known = check
		return q.SetSetting(ctx, settingKeyCheck, check)
	})
	if err == nil && known != check {
		err = fmt.Errorf("%s is not the key of the database %s: copy the key file from the replica that made the database, or from its backup", p.KeyFile, store.Describe(p.Database))
		if made {
			err = errors.Join(err, os.Remove(p.KeyFile)) // another replica was quicker
		}
	}
	return keys, err
}

// Close closes the database.
func (s *Service) Close() error { return s.DB.Close() }

// Errors that the doors turn into statuses and exit codes. store.ErrNotFound is
// one more.
var (
	// ErrUnauthorized: the token id or token is wrong or no longer valid.
	ErrUnauthorized = errors.New("wrong or revoked token")
	// ErrExpired: the bearer token is unknown or has expired.
	ErrExpired = errors.New("session is expired or invalid")
)

// RefusedError says that the caller is known but may not do this.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// InvalidError says what is wrong with the request.
type InvalidError struct{ Text string }

func (e *InvalidError) Error() string { return e.Text }

func refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }
func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// Hrefs of resources as API 1.5 writes them.

// ServerHref is the href of a server.
func ServerHref(id int64) string { return fmt.Sprintf("/api/servers/%d", id) }

// InstanceHref is the href of an instance.
func InstanceHref(i store.Instance) string {
	return fmt.Sprintf("/api/clouds/%d/instances/%s", i.CloudID, i.UID)
}
