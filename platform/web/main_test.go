// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"os"
	"testing"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// All tests run on SQLite and on PostgreSQL.
func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m, func(ctx context.Context, url string) error {
		db, err := store.Open(ctx, url)
		if err != nil {
			return err
		}
		return db.Close()
	}))
}
