// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// first is a platform as the first version of rightscaled left it, made by that
// version on 2026-11-29: web-1 is operational, web-2 has been terminated, web-3
// has not been launched. With PostgreSQL it moves there as it is upgraded.
func first(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	packed, err := os.Open("testdata/first/rightscaled.db.gz")
	require.NoError(t, err)
	defer packed.Close()
	zip, err := gzip.NewReader(packed)
	require.NoError(t, err)
	raw, err := io.ReadAll(zip)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rightscaled.db"), raw, 0o600))
	key, err := os.ReadFile("testdata/first/secret.key")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret.key"), key, 0o600))
	place := fleet.Place{Dir: dir}
	if storetest.Kind() == storetest.PostgreSQL {
		place.Database = move(t, place)
	}
	w := &world{t: t}
	w.fleet, err = fleet.OpenAt(t.Context(), place)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.fleet.Close()) })
	w.fleet.Now = func() time.Time { return time.Date(2026, 11, 29, 18, 10, 0, 0, time.UTC) }
	srv := httptest.NewTLSServer(New(w.fleet, Options{Log: slog.New(slog.DiscardHandler)}).Handler())
	t.Cleanup(srv.Close)
	w.base, w.client = srv.URL, srv.Client()
	return w
}

// move restores a backup of a place into another database.
func move(t *testing.T, from fleet.Place) (location string) {
	t.Helper()
	f, err := fleet.OpenAt(t.Context(), from)
	require.NoError(t, err)
	var backup bytes.Buffer
	_, err = f.DB.Backup(t.Context(), &backup, time.Now())
	require.NoError(t, err)
	require.NoError(t, f.Close())
	location = storetest.Empty(t)
	_, err = store.Restore(t.Context(), location, bytes.NewReader(backup.Bytes()))
	require.NoError(t, err)
	return location
}

// A database of the first version is brought up to date, and its agents go on
// with their sessions, their tokens and their audit entries.
func TestUpgrade(t *testing.T) {
	w := first(t)
	running := &agent{world: w, identity: identity{"1001", "e9a7b6cbe5d8b6989d737ec9fe4ed4ae9ff04c9f"}, bearer: "6ky3Q2F3sCINrIsecHHE383mrPDbiEEc4YKTcJiD31I"}
	running.do("POST", "/api/audit_entries/9/append", map[string]any{"detail": "and after\n"}, 204)
	require.Equal(t, "Hello from before\nand after\n", running.do("GET", "/api/audit_entries/9/detail", nil, 200).body)
	running.record(wire.StateDecommissioned, "", "reboot", 204)

	again := w.login(running.identity).declare("i-00000000000000001")
	again.record(wire.StateBooting, "", "", 204)
	require.Equal(t, "Test install", again.boot().Executables[0].Nickname)
	again.record(wire.StateOperational, "", "", 204)
	require.Equal(t, "operational", w.view("web-1").State)
	w.login(running.identity).do("POST", "/api/right_net/booter/declare", map[string]any{"resource_uid": "i-0000000000000000c", "right_link_version": "6.3.7"}, 403)

	ended := identity{"1002", "41ee3cbcf7b385f7bcf118b17132d6aa923c77b8"}
	require.Equal(t, http.StatusUnauthorized, w.call("POST", "/api/oauth2", rl6, ended.basic).status)

	fresh := w.login(identity{"1003", "fda2f294805d0ec29bb9c7d0f73daa09f117076d"}).declare("i-00000000000000003")
	fresh.record(wire.StateBooting, "", "", 204)
	var password string
	for _, script := range fresh.boot().Executables {
		if v, ok := script.Parameters["PASSWORD"]; ok {
			password = v
		}
	}
	require.Equal(t, "s3cret", password, "the credential opens with the old key")
	fresh.record(wire.StateOperational, "", "", 204)

	// What is new works on what is old.
	id, err := w.fleet.RunScript(context.Background(), fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test install"})
	require.NoError(t, err)
	var list []wire.Event
	again.call("GET", "/router/listen?wait_time=0", nil, again.router).into(t, &list)
	require.Len(t, list, 1)
	require.NotZero(t, id)
	_, err = w.fleet.RelaunchServer(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web-2", wire.EnrolAttested)
	require.NoError(t, err)
	require.Equal(t, int64(1004), w.view("web-2").TokenID)
}
