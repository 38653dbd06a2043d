// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrate applies what is missing, up to a version; 0 for all there is.
func migrate(ctx context.Context, db *DB, dir string, version int64, dialect goose.Dialect, opts ...goose.ProviderOption) error {
	p, err := provider(db, dir, dialect, opts...)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err == nil && current > target {
		return fmt.Errorf("its schema has version %d, this rightscaled knows up to %d; use the newer rightscaled", current, target)
	}
	if version == 0 {
		version = target
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
}

func provider(db *DB, dir string, dialect goose.Dialect, opts ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	// A branch that is merged later may bring a smaller number.
	p, err := goose.NewProvider(dialect, db.pool, files, append(opts, goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))...)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}
