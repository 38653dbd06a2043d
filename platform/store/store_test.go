// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)

// All tests run on SQLite and on PostgreSQL.
func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m, func(ctx context.Context, url string) error {
		db, err := Open(ctx, url)
		if err != nil {
			return err
		}
		return db.Close()
	}))
}

func open(t *testing.T) (*DB, string) {
	t.Helper()
	location := storetest.URL(t)
	return openAt(t, location), location
}

func openAt(t *testing.T, location string) *DB {
	t.Helper()
	db, err := Open(context.Background(), location)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestOpen(t *testing.T) {
	ctx := context.Background()
	db, location := open(t)
	_, err := db.exec(ctx, `INSERT INTO servers (account_id, name, description, server_template_id, rightlink_version, user_data, state, created_at, updated_at) VALUES (1,'x','',99,'','','',0,0)`)
	require.ErrorContains(t, errors.New(strings.ToLower(err.Error())), "foreign key")

	// Opening again keeps what is there; a newer schema is refused.
	require.NoError(t, db.SetSetting(ctx, "a", "1"))
	require.NoError(t, db.SetSetting(ctx, "a", "2"))
	again, err := Open(ctx, location)
	require.NoError(t, err)
	v, err := again.Setting(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "2", v)
	_, err = again.exec(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, `+map[string]string{"sqlite": "1", "postgres": "true"}[storetest.Kind()]+`)`)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	_, err = Open(ctx, location)
	require.ErrorContains(t, err, "use the newer rightscaled")
}

func TestSQLiteFile(t *testing.T) {
	if storetest.Kind() != storetest.SQLite {
		t.Skip("of SQLite only")
	}
	ctx := context.Background()
	path := storetest.Empty(t)
	db := openAt(t, path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	var mode string
	require.NoError(t, db.row(ctx, `PRAGMA journal_mode`).Scan(&mode))
	require.Equal(t, "wal", mode)
	var fk int
	require.NoError(t, db.row(ctx, `PRAGMA foreign_keys`).Scan(&fk))
	require.Equal(t, 1, fk)
	_, err = Open(ctx, filepath.Join(t.TempDir(), "no", "such", "dir.db"))
	require.Error(t, err)
	again, err := Open(ctx, "sqlite://"+path)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestLocations(t *testing.T) {
	ctx := context.Background()
	for location, want := range map[string]string{
		"mysql://root@db/x":                                "want the path of a SQLite file, or postgres://",
		"postgres://u:s3cret@127.0.0.1:1/x":                "x on 127.0.0.1:1",
		"postgres://u:s3cret@db:port/x":                    "want postgres://USER:PASSWORD@HOST:5432/NAME",
		"postgres://u:s3cret@127.0.0.1/x?pool_max_conns=1": "pool_max_conns=1: want a number of at least 4",
	} {
		_, err := Open(ctx, location)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "s3cret")
	}
	require.Equal(t, "name on /run/postgresql", Describe("postgres:///name?host=/run/postgresql"))
	require.Equal(t, "/a/b.db", Describe("sqlite:///a/b.db"))
}

// Text that one of the databases cannot keep is refused by both.
func TestText(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	for _, text := range []string{"a\x00b", "a\xffb"} {
		require.ErrorIs(t, db.SetSetting(ctx, "a", text), ErrText)
		_, err := db.Setting(ctx, text)
		require.ErrorIs(t, err, ErrText)
		_, err = db.Tags(ctx, 1, text)
		require.ErrorIs(t, err, ErrText)
	}
	require.NoError(t, db.SetSetting(ctx, "a", "Grüße, 日本, 😀, ' \" ? \\"))
	v, err := db.Setting(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "Grüße, 日本, 😀, ' \" ? \\", v)
}

func TestRebind(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT 1":                              "SELECT 1",
		"a = ? AND b = ?":                       "a = $1 AND b = $2",
		"a = '?' AND b = ?":                     "a = '?' AND b = $1",
		"a = 'it''s ?' AND b = ?":               "a = 'it''s ?' AND b = $1",
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)": "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	} {
		require.Equal(t, want, postgres{}.rebind(in))
	}
}

// Two processes (here: two pools) write at the same time and wait for each
// other instead of failing.
func TestConcurrentWriters(t *testing.T) {
	ctx := context.Background()
	db, path := open(t)
	other := openAt(t, path)
	var wg sync.WaitGroup
	errs := make(chan error, 60)
	for i := range 60 {
		d := []*DB{db, other}[i%2]
		wg.Go(func() {
			errs <- d.InTx(ctx, func(q *Queries) error {
				e := AuditEntry{AccountID: 1, AuditeeHref: "/x", Summary: "s"}
				id, err := q.CreateAuditEntry(ctx, e, now)
				if err != nil {
					return err
				}
				return q.AddDetailPart(ctx, id, DetailPart{0, []byte("x")})
			})
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	list, err := db.AuditEntries(ctx, AuditFilter{AccountID: 1})
	require.NoError(t, err)
	require.Len(t, list, 60)
	list, err = db.AuditEntries(ctx, AuditFilter{AccountID: 1, Limit: 2})
	require.NoError(t, err)
	require.Less(t, list[0].ID, list[1].ID)
}

func TestRollback(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	boom := errors.New("boom")
	require.ErrorIs(t, db.InTx(ctx, func(q *Queries) error {
		require.NoError(t, q.SetSetting(ctx, "a", "1"))
		return boom
	}), boom)
	v, err := db.Setting(ctx, "a")
	require.NoError(t, err)
	require.Empty(t, v)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, db.InTx(cancelled, func(*Queries) error { return nil }), context.Canceled)
}

func put(t *testing.T, db *DB, content []byte) Blob {
	t.Helper()
	sum := sha256.Sum256(content)
	b := Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	require.NoError(t, db.InTx(context.Background(), func(q *Queries) error {
		return q.PutBlob(context.Background(), b, bytes.NewReader(content), now)
	}))
	return b
}

func TestBlobs(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2*chunkSize + 7} {
		content := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		b := put(t, db, content)
		put(t, db, content) // again is harmless
		require.NoError(t, iotest.TestReader(db.OpenBlob(ctx, b), content), "size %d", size)
	}
	_, err := db.Blob(ctx, "none")
	require.ErrorIs(t, err, ErrNotFound)
	err = db.InTx(ctx, func(q *Queries) error { return q.PutBlob(ctx, Blob{"d", 5}, bytes.NewReader([]byte("abc")), now) })
	require.ErrorContains(t, err, "did the file change")
	_, err = db.Blob(ctx, "d")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = db.OpenBlob(ctx, Blob{"d", 5}).Seek(-1, io.SeekStart)
	require.Error(t, err)
}

func TestTemplatesAndScripts(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	b1, b2 := put(t, db, []byte("one")), put(t, db, []byte("two"))
	script := RightScript{AccountID: 1, Name: "S", Source: "#!/bin/sh\n", Packages: "curl", Inputs: []rightscript.Input{{Name: "A", Type: "single", Required: true}},
		Attachments: []Attachment{{"b.bin", b1}, {"a.bin", b1}}}
	id, err := db.PutRightScript(ctx, script, now)
	require.NoError(t, err)
	value, err := rightscript.ParseValue("text:1")
	require.NoError(t, err)
	tmpl := ServerTemplate{AccountID: 1, Name: "T", Inputs: map[string]rightscript.Value{"A": value}, MultiCloudImages: []byte(`[]`), Alerts: []byte(`[]`)}
	tid, err := db.PutServerTemplate(ctx, tmpl, []Binding{{id, "Decommission", 1}, {id, "Boot", 2}, {id, "Boot", 1}}, now)
	require.NoError(t, err)

	got, err := db.ServerTemplateByName(ctx, 1, "T")
	require.NoError(t, err)
	require.Equal(t, tid, got.ID)
	require.Equal(t, tmpl.Inputs, got.Inputs)
	require.Equal(t, now, got.CreatedAt)
	bound, err := db.BoundScripts(ctx, tid, "")
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 1}, []int{bound[0].Position, bound[1].Position, bound[2].Position})
	require.Equal(t, "Boot", bound[0].Sequence)
	require.Equal(t, script.Inputs, bound[0].Inputs)
	require.Equal(t, []Attachment{{"b.bin", b1}, {"a.bin", b1}}, bound[0].Attachments, "in the order of the script")

	// Replacing keeps the ids, and content that nobody needs goes.
	script.Attachments = []Attachment{{"c.bin", b2}}
	again, err := db.PutRightScript(ctx, script, now.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.NoError(t, db.DropUnusedBlobs(ctx))
	_, err = db.Blob(ctx, b1.Digest)
	require.ErrorIs(t, err, ErrNotFound)
	var chunks int
	require.NoError(t, db.row(ctx, `SELECT COUNT(*) FROM blob_chunks`).Scan(&chunks))
	require.Equal(t, 1, chunks)
	retid, err := db.PutServerTemplate(ctx, tmpl, []Binding{{id, "Boot", 1}}, now)
	require.NoError(t, err)
	require.Equal(t, tid, retid)
	bound, err = db.BoundScripts(ctx, tid, "Boot")
	require.NoError(t, err)
	require.Len(t, bound, 1)
	_, err = db.ServerTemplateByName(ctx, 1, "none")
	require.ErrorIs(t, err, ErrNotFound)
	require.EqualError(t, err, `ServerTemplate "none": not found`)
}
