// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// fill puts something into many tables.
func fill(t *testing.T, db *DB) {
	t.Helper()
	ctx := context.Background()
	blob := put(t, db, bytes.Repeat([]byte{0, 1, 0xff}, chunkSize))
	script, err := db.PutRightScript(ctx, RightScript{AccountID: 1, Name: "S", Source: "#!/bin/sh\necho 'ü \"?'\n", Attachments: []Attachment{{"a", blob}}}, now)
	require.NoError(t, err)
	tmpl, err := db.PutServerTemplate(ctx, ServerTemplate{AccountID: 1, Name: "T", MultiCloudImages: []byte(`[]`), Alerts: []byte(`[]`)}, []Binding{{script, "Boot", 1}}, now)
	require.NoError(t, err)
	server, err := db.CreateServer(ctx, Server{AccountID: 1, Name: "web", TemplateID: tmpl, State: "inactive", Enrolment: "attested", Allow: []byte(`{}`)}, nil, now)
	require.NoError(t, err)
	instance, err := db.CreateInstance(ctx, Instance{AccountID: 1, CloudID: 1, ServerID: server, UID: "U1", State: "pending"}, now)
	require.NoError(t, err)
	token, err := db.CreateEnrolmentToken(ctx, EnrolmentToken{ServerID: server, InstanceID: instance, Hash: []byte{0}, Sealed: []byte{}}, now)
	require.NoError(t, err)
	require.Equal(t, int64(1001), token, "token ids have four digits")
	require.NoError(t, db.PutAttestation(ctx, Attestation{TokenID: token, InstanceUID: "i-1", PublicKey: []byte("key"), KeySince: now, CreatedAt: now}))
	for _, at := range []time.Time{now.Add(-48 * time.Hour), now} {
		id, err := db.CreateAuditEntry(ctx, AuditEntry{AccountID: 1, ServerID: server, Summary: "s"}, at)
		require.NoError(t, err)
		require.NoError(t, db.AddDetailPart(ctx, id, DetailPart{0, []byte("text")}))
	}
	// Ids that were given must not be given again.
	gone, err := db.CreateEnrolmentToken(ctx, EnrolmentToken{ServerID: server, InstanceID: instance, Hash: []byte{1}, Sealed: []byte{}}, now)
	require.NoError(t, err)
	_, err = db.exec(ctx, `DELETE FROM enrolment_tokens WHERE id = ?`, gone)
	require.NoError(t, err)
}

func backupOf(t *testing.T, db *DB) []byte {
	t.Helper()
	var b bytes.Buffer
	rows, err := db.Backup(context.Background(), &b, now)
	require.NoError(t, err)
	require.Greater(t, rows, int64(10))
	return b.Bytes()
}

func unzip(t *testing.T, raw []byte) string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(raw))
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	return string(text)
}

// A backup goes from the database to SQLite and from there to the database, and
// is the same each time.
func TestBackup(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	fill(t, db)
	first := backupOf(t, db)
	path := filepath.Join(t.TempDir(), "copy.db")
	_, err := Restore(ctx, path, bytes.NewReader(first))
	require.NoError(t, err)
	second := backupOf(t, openAt(t, path))
	require.Equal(t, unzip(t, first), unzip(t, second))
	location := storetest.Empty(t)
	_, err = Restore(ctx, location, bytes.NewReader(second))
	require.NoError(t, err)
	back := openAt(t, location)
	require.Equal(t, unzip(t, first), unzip(t, backupOf(t, back)))

	token, err := back.CreateEnrolmentToken(ctx, EnrolmentToken{ServerID: 1, InstanceID: 1, Hash: []byte{2}, Sealed: []byte{}}, now)
	require.NoError(t, err)
	require.Equal(t, int64(1003), token)
	blob, err := back.BoundScripts(ctx, 1, "Boot")
	require.NoError(t, err)
	content, err := io.ReadAll(back.OpenBlob(ctx, blob[0].Attachments[0].Blob))
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{0, 1, 0xff}, chunkSize), content)

	_, err = Restore(ctx, location, bytes.NewReader(first))
	require.ErrorContains(t, err, "is not empty; restore into a new one")
}

func TestDamagedBackups(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	fill(t, db)
	text := unzip(t, backupOf(t, db))
	zip := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	lines := strings.SplitAfter(text, "\n")
	row := slices.IndexFunc(lines, func(line string) bool { return line[0] == '[' })
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"no gzip":      {[]byte("hello"), "no backup of rightscaled"},
		"other":        {zip(`{"format":"x"}`), "no backup of rightscaled"},
		"newer":        {zip(strings.Replace(text, `"version":1`, `"version":2`, 1)), "use the newer rightscaled"},
		"newer schema": {zip(strings.Replace(text, `"schema":`, `"schema":9`, 1)), "use the newer rightscaled"},
		"cut off":      {zip(strings.Join(lines[:len(lines)-2], "")), "damaged or cut off"},
		"a row less":   {zip(strings.Join(append(lines[:row:row], lines[row+1:]...), "")), "damaged"},
		"bad gzip":     {backupOf(t, db)[:200], "damaged or cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			_, err := Restore(ctx, path, bytes.NewReader(tc.raw))
			require.ErrorContains(t, err, tc.want)
			require.NoFileExists(t, path, "nothing is touched")
		})
	}
	path := filepath.Join(t.TempDir(), "x.db")
	_, err := Restore(ctx, path, bytes.NewReader(zip(strings.Replace(text, `{"table":"accounts"`, `{"table":"strangers"`, 1))))
	require.ErrorContains(t, err, `no table "strangers"`)
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"format":"rightscaled backup","version":1,"schema":8}` + "\n" + `{"table":"settings","columns":["name","value"]}` + "\n" + `["a",{"b":""}]` + "\n" + `{"end":true,"rows":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		_, _, _ = checkBackup(&b) // it must not panic
	})
}

func TestRetention(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	fill(t, db)
	for range pruneBatch + 10 {
		_, err := db.CreateAuditEntry(ctx, AuditEntry{AccountID: 1, Summary: "old"}, now.Add(-72*time.Hour))
		require.NoError(t, err)
	}
	removed, err := db.PruneAudit(ctx, now.Add(-24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, int64(pruneBatch+11), removed)
	list, err := db.AuditEntries(ctx, AuditFilter{AccountID: 1})
	require.NoError(t, err)
	require.Len(t, list, 1)
	var details int
	require.NoError(t, db.row(ctx, `SELECT COUNT(*) FROM audit_details`).Scan(&details))
	require.Equal(t, 1, details, "the text goes with its entry")

	require.NoError(t, db.CreateAccessToken(ctx, []byte("old"), 1001, now.Add(-time.Second), now))
	require.NoError(t, db.CreateAccessToken(ctx, []byte("new"), 1001, now.Add(time.Hour), now))
	fresh, err := db.UseNonce(ctx, []byte("n"), now.Add(-time.Second))
	require.NoError(t, err)
	require.True(t, fresh)
	fresh, err = db.UseNonce(ctx, []byte("n"), now.Add(time.Hour))
	require.NoError(t, err)
	require.False(t, fresh)
	require.NoError(t, db.DropExpired(ctx, now))
	var left int
	require.NoError(t, db.row(ctx, `SELECT (SELECT COUNT(*) FROM access_tokens) + (SELECT COUNT(*) FROM used_nonces)`).Scan(&left))
	require.Equal(t, 1, left)
}
