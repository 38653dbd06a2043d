// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package storetest runs a package's tests on every database that the store
// knows: on SQLite files, and on a PostgreSQL server that it starts itself.
package storetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Databases that tests run on. RIGHTIMAGE_TEST_DATABASES narrows them, for a
// quick run by hand.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// current is what the running pass of Main uses.
var current struct {
	sync.Mutex
	kind    string
	cluster *Cluster
	prepare func(ctx context.Context, url string) error
	made    bool
	file    []byte // an SQLite database that was prepared
}

// Main runs all tests once per database and returns the exit code. prepare
// brings the schema into an empty database, which each test then gets a copy of;
// nil for none.
func Main(m *testing.M, prepare func(ctx context.Context, url string) error) (code int) {
	kinds := SQLite + "," + PostgreSQL
	if only := os.Getenv("RIGHTIMAGE_TEST_DATABASES"); only != "" {
		kinds = only
	}
	current.prepare = prepare
	if fuzzing() {
		kinds = SQLite // one pass; what is fuzzed does not depend on the database
	}
	for kind := range strings.SplitSeq(kinds, ",") {
		fmt.Printf("=== tests on %s\n", kind)
		if err := begin(kind); err != nil {
			fmt.Fprintf(os.Stderr, "storetest: %s: %v\n", kind, err)
			return 1
		}
		code = max(code, m.Run())
		if err := end(); err != nil {
			fmt.Fprintf(os.Stderr, "storetest: %s: %v\n", kind, err)
			return 1
		}
	}
	return code
}

func fuzzing() bool {
	flag.Parse()
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "false" {
			return true
		}
	}
	return false
}

func begin(kind string) (err error) {
	current.kind = kind
	switch kind {
	case SQLite:
	case PostgreSQL:
		current.cluster, err = StartCluster(context.Background(), false)
	default:
		err = fmt.Errorf("want %s or %s", SQLite, PostgreSQL)
	}
	return err
}

func end() error {
	if current.cluster == nil {
		return nil
	}
	err := current.cluster.Stop()
	current.cluster, current.made = nil, false
	return err
}

// Kind is the database of the running pass.
func Kind() string { return current.kind }

// CPU is the processor time that the database's own processes have used.
func CPU() time.Duration {
	if current.cluster == nil {
		return 0
	}
	return current.cluster.CPU()
}

// URL returns the location of a fresh database for one test, with the schema if
// Main has been told how.
func URL(t testing.TB) string {
	t.Helper()
	if current.kind == SQLite {
		return sqlite(t)
	}
	return postgres(t, true)
}

// Empty is URL without the schema.
func Empty(t testing.TB) string {
	t.Helper()
	if current.kind == SQLite {
		return emptySQLite(t)
	}
	return postgres(t, false)
}

func emptySQLite(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "with space & ?#%.db")
}

func sqlite(t testing.TB) string {
	t.Helper()
	path := emptySQLite(t)
	if current.prepare == nil {
		return path
	}
	current.Lock()
	defer current.Unlock()
	if current.file == nil {
		template := filepath.Join(t.TempDir(), "prepared.db")
		err := current.prepare(context.Background(), template)
		if err == nil {
			current.file, err = os.ReadFile(template)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, current.file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func postgres(t testing.TB, schema bool) string {
	t.Helper()
	if current.cluster == nil {
		t.Fatal("the tests of this package run without storetest.Main")
	}
	template := ""
	if schema && current.prepare != nil {
		template = "prepared"
	}
	current.Lock()
	defer current.Unlock()
	ctx := context.Background()
	if template != "" && !current.made {
		if err := current.cluster.create(ctx, template, ""); err != nil {
			t.Fatal(err)
		}
		if err := current.prepare(ctx, current.cluster.url(template)); err != nil {
			t.Fatal(err)
		}
		current.made = true
	}
	url, err := current.cluster.Create(ctx, template)
	if err != nil {
		t.Fatal(err)
	}
	cluster := current.cluster
	t.Cleanup(func() { // after the test has closed it
		if err := cluster.Drop(ctx, url); err != nil {
			t.Error(err)
		}
	})
	return url
}
