// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

var ctx = context.Background()

func service(t *testing.T) (*Service, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := OpenAt(ctx, Place{Dir: dir, Database: database(t, dir)})
	require.NoError(t, err)
	s.DB.Rehearse = true
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	tmpl, err := servertemplate.Load("../servertemplate/testdata/web/web.yml")
	require.NoError(t, err)
	_, err = s.UploadTemplate(ctx, By{Account: DefaultAccount, Who: "test"}, tmpl)
	require.NoError(t, err)
	return s, dir
}

// database is DIR's own with SQLite.
func database(t *testing.T, dir string) string {
	t.Helper()
	url := storetest.URL(t)
	if storetest.Kind() == storetest.SQLite {
		own := filepath.Join(dir, "rightscaled.db")
		require.NoError(t, os.Rename(url, own))
		return own
	}
	return url
}

func values(t *testing.T, pairs ...string) map[string]rightscript.Value {
	t.Helper()
	m := map[string]rightscript.Value{}
	for i := 0; i < len(pairs); i += 2 {
		v, err := rightscript.ParseValue(pairs[i+1])
		require.NoError(t, err)
		m[pairs[i]] = v
	}
	return m
}

// The vector comes from the documentation of the original agents.
func TestAgentID(t *testing.T) {
	require.Equal(t, "rs-instance-9bbdbb80d37d69e9bcd7412192c0735e5a792155-4711", AgentID(4711, "0123456789abcdef"))
}

// A copy of the database alone must not give away a token or a credential.
func TestNothingSecretInTheDatabase(t *testing.T) {
	s, dir := service(t)
	require.NoError(t, s.SetCredential(ctx, By{Account: DefaultAccount, Who: "test"}, "PW", "", "s3cret-value"))
	server, err := s.CreateServer(ctx, DefaultAccount, ServerSpec{Name: "web", Template: "Test web", Enrolment: wire.EnrolLegacy})
	require.NoError(t, err)
	token, err := s.DB.LatestToken(ctx, server.ID)
	require.NoError(t, err)
	plain, err := s.openToken(token)
	require.NoError(t, err)
	bearer, err := s.Login(ctx, token.ID, 0, plain)
	require.NoError(t, err)
	var backup bytes.Buffer
	_, err = s.DB.Backup(ctx, &backup, s.Now())
	require.NoError(t, err)
	zip, err := gzip.NewReader(&backup)
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "backup"), text, 0o600))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, hidden := range []secret.String{plain, bearer, "s3cret-value"} {
			require.False(t, bytes.Contains(raw, []byte(hidden.Reveal())), path)
		}
		return err
	}))
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	place := Place{Dir: dir, Database: database(t, dir)}
	s, err := OpenAt(ctx, place)
	require.NoError(t, err)
	require.NoError(t, s.SetCredential(ctx, By{Account: DefaultAccount, Who: "test"}, "PW", "", "v"))
	require.NoError(t, s.Close())
	key := filepath.Join(dir, "secret.key")
	good, err := os.ReadFile(key)
	require.NoError(t, err)

	require.NoError(t, os.Remove(key))
	_, err = OpenAt(ctx, place)
	require.ErrorContains(t, err, "restore the key file from a backup, copy it from another replica")
	require.NoFileExists(t, key, "a new key would hide the loss")

	// A replica with a key of its own would seal what no other can open.
	require.NoError(t, os.WriteFile(key, bytes.Repeat([]byte("ab"), 32), 0o600))
	_, err = OpenAt(ctx, place)
	require.ErrorContains(t, err, "is not the key of the database")

	shared := filepath.Join(t.TempDir(), "shared.key")
	require.NoError(t, os.WriteFile(shared, good, 0o600))
	place.KeyFile = shared
	s, err = OpenAt(ctx, place)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Replicas that start at once on a new database with different keys: one wins,
// and the others say so and leave no key file of their own.
func TestReplicasStartAtOnce(t *testing.T) {
	location := storetest.Empty(t)
	var opened, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		dir := t.TempDir()
		wg.Go(func() {
			s, err := OpenAt(ctx, Place{Dir: dir, Database: location})
			if err != nil {
				assert.ErrorContains(t, err, "key")
				assert.NoFileExists(t, filepath.Join(dir, "secret.key"))
				refused.Add(1)
				return
			}
			opened.Add(1)
			assert.NoError(t, s.Close())
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), opened.Load())
	require.Equal(t, int64(3), refused.Load())
}

func TestCreateServerRefusals(t *testing.T) {
	s, _ := service(t)
	_, err := s.CreateServer(ctx, DefaultAccount, ServerSpec{Name: "web", Template: "Test web"})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		spec ServerSpec
		want string
	}{
		"exists":       {ServerSpec{Name: "web", Template: "Test web"}, "exists already"},
		"no template":  {ServerSpec{Name: "b", Template: "None"}, `ServerTemplate "None": not found`},
		"empty name":   {ServerSpec{Template: "Test web"}, "server name"},
		"control name": {ServerSpec{Name: "a\nb", Template: "Test web"}, "server name"},
		"space name":   {ServerSpec{Name: " a", Template: "Test web"}, "server name"},
		"unknown":      {ServerSpec{Name: "b", Template: "Test web", Inputs: values(t, "PROT", "text:1")}, "its inputs: COLORS, MODE, OWN_ID, PASSWORD, PORT, TITLE"},
		"possible":     {ServerSpec{Name: "b", Template: "Test web", Inputs: values(t, "MODE", "text:slow")}, "possible values: text:fast, text:safe"},
		"array":        {ServerSpec{Name: "b", Template: "Test web", Inputs: values(t, "PORT", `array:["text:1"]`)}, "single value"},
		"required":     {ServerSpec{Name: "b", Template: "Test web", Inputs: values(t, "PORT", "ignore")}, "is required"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.CreateServer(ctx, DefaultAccount, tc.spec)
			require.ErrorContains(t, err, tc.want)
		})
	}
	list, err := s.Servers(ctx, DefaultAccount)
	require.NoError(t, err)
	require.Len(t, list, 1, "a refused server leaves nothing")
}

func TestUserDataAndDelete(t *testing.T) {
	s, _ := service(t)
	server, err := s.CreateServer(ctx, DefaultAccount, ServerSpec{Name: "web", Template: "Test web", RightLinkVersion: "0.1.0", UserData: "ROLE=web"})
	require.NoError(t, err)
	_, err = s.UserData(ctx, By{Account: DefaultAccount, Who: "test"}, "web", userdata.FormQuery, "")
	require.ErrorContains(t, err, "rightscaled serve --hostname")
	require.NoError(t, s.DB.SetSetting(ctx, SettingPublicHost, "rs.example.net"))
	one, err := s.UserData(ctx, By{Account: DefaultAccount, Who: "test"}, "web", userdata.FormQuery, "")
	require.NoError(t, err)
	require.Contains(t, one, "RS_server=rs.example.net&RS_account=1&RS_version=0.1.0&ROLE=web")
	old, err := s.DB.LatestToken(ctx, server.ID)
	require.NoError(t, err)
	two, err := s.UserData(ctx, By{Account: DefaultAccount, Who: "test"}, "web", userdata.FormQuery, "")
	require.NoError(t, err)
	require.NotEqual(t, one, two, "a fresh token each time")
	tokens, err := s.DB.LatestToken(ctx, server.ID)
	require.NoError(t, err)
	require.Empty(t, tokens.Sealed, "only its hash is kept")
	old, err = s.DB.EnrolmentToken(ctx, old.ID)
	require.NoError(t, err)
	require.False(t, old.RevokedAt.IsZero(), "the one before is good for nothing")
	require.Equal(t, old.InstanceID, tokens.InstanceID)
	_, err = s.RelaunchServer(ctx, By{Account: DefaultAccount, Who: "test"}, "web", "")
	require.NoError(t, err)
	two, err = s.UserData(ctx, By{Account: DefaultAccount, Who: "test"}, "web", userdata.FormQuery, "")
	require.NoError(t, err)
	require.NotEqual(t, one, two)

	require.NoError(t, s.DeleteServer(ctx, By{Account: DefaultAccount, Who: "test"}, "web", false))
	_, err = s.ServerByName(ctx, DefaultAccount, "web")
	require.ErrorIs(t, err, store.ErrNotFound)
	entries, err := s.AuditEntries(ctx, DefaultAccount, "", 0, 0)
	require.NoError(t, err)
	require.Equal(t, "server deleted", entries[len(entries)-1].Summary)
	_, err = s.CreateServer(ctx, DefaultAccount, ServerSpec{Name: "web", Template: "Test web"})
	require.NoError(t, err, "the name is free again")
}

func TestUploadRefersToScriptsOfTheAccount(t *testing.T) {
	s, _ := service(t)
	tmpl := &servertemplate.Template{Name: "Second", Bindings: []servertemplate.Binding{{Sequence: servertemplate.Boot, Position: 1, Script: -1, Ref: "Test stop"}}}
	_, err := s.UploadTemplate(ctx, By{Account: DefaultAccount, Who: "test"}, tmpl)
	require.NoError(t, err)
	tmpl.Bindings[0].Ref = "Nowhere"
	_, err = s.UploadTemplate(ctx, By{Account: DefaultAccount, Who: "test"}, tmpl)
	require.ErrorContains(t, err, `RightScript "Nowhere": not found in the account`)
	got, err := s.DB.ServerTemplateByName(ctx, DefaultAccount, "Second")
	require.NoError(t, err)
	bound, err := s.DB.BoundScripts(ctx, got.ID, "Boot")
	require.NoError(t, err)
	require.Equal(t, "Test stop", bound[0].Name, "the failed upload changed nothing")
}

func TestCredentialNames(t *testing.T) {
	s, _ := service(t)
	for _, name := range []string{"", "a:b", "a\nb"} {
		require.Error(t, s.SetCredential(ctx, By{Account: DefaultAccount, Who: "test"}, name, "", "v"), "%q", name)
	}
	err := s.SetCredential(ctx, By{Account: DefaultAccount, Who: "test"}, "A", "", "v\x00alue")
	require.ErrorContains(t, err, "NUL")
	require.NotContains(t, err.Error(), "alue\"")
}
