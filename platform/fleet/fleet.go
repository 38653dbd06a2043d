// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package fleet holds the platform's rules: how a ServerTemplate gets in, how a
// server gets its identity, who may enrol with it, what a boot bundle holds and
// how states and audit entries come about. The API and the admin CLI are two
// doors to it; neither has rules of its own.
package fleet

import (
	"context"
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

// Open opens the data directory, creating it at the first use: the database,
// and the key file that opens what is sealed in it.
func Open(ctx context.Context, dir string) (*Service, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	database, key := filepath.Join(dir, "rightscaled.db"), filepath.Join(dir, "secret.key")
	_, err := os.Stat(database)
	isNew := errors.Is(err, os.ErrNotExist)
	keys, err := seal.Load(key, isNew)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing, but %s exists: restore the key file from a backup, or move the database away to start anew", key, database)
	}
	if err != nil {
		return nil, err
	}
	db, err := store.OpenSQLite(ctx, database)
	if err != nil {
		return nil, err
	}
	return &Service{DB: db, Keys: keys, Now: time.Now}, nil
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
