// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func publicKey(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(pub)
	require.NoError(t, err)
	return string(ssh.MarshalAuthorizedKey(key))
}

// Every change is on the audit trail with who made it; those of a server are on
// its own trail.
func TestAuditSaysWho(t *testing.T) {
	s, _ := service(t)
	require.NoError(t, s.DB.SetSetting(ctx, SettingPublicHost, "rs.example.net"))
	ann := By{Account: DefaultAccount, Who: "ann@example.net"}
	server, err := s.CreateServer(ctx, DefaultAccount, ServerSpec{Name: "web", Template: "Test web", By: ann.Who, Expect: []string{"i-0123456789abcdef0"}})
	require.NoError(t, err)
	last := func() int64 {
		list, err := s.AuditEntries(ctx, DefaultAccount, "", 0, 1)
		require.NoError(t, err)
		return list[0].ID
	}
	changes := []struct {
		name     string
		ofServer bool
		do       func() error
	}{
		{"user-data", true, func() error { _, err := s.UserData(ctx, ann, "web", userdata.FormQuery, ""); return err }},
		{"expect", true, func() error { return s.Expect(ctx, ann, "web", store.Expected{}) }},
		{"enrolment", true, func() error { return s.SetEnrolment(ctx, ann, "web", wire.EnrolLegacy) }},
		{"relaunch", true, func() error { _, err := s.RelaunchServer(ctx, ann, "web", wire.EnrolAttested); return err }},
		{"tags", true, func() error { _, err := s.TagServer(ctx, ann, "web", []string{"a:b=c"}, []string{"d:e=f"}); return err }},
		{"tags of the server", true, func() error {
			return s.ChangeTagsAs(ctx, ann, []string{ServerHref(server.ID)}, []string{"a:b=c"}, false)
		}},
		{"inputs", true, func() error {
			return s.SetServerInputs(ctx, ann, server.ID, 0, map[string]rightscript.Value{"PORT": {Kind: rightscript.KindText, Text: "1"}})
		}},
		{"configuration", true, func() error { d := "new"; return s.UpdateServer(ctx, ann, server.ID, ServerPatch{Description: &d}) }},
		{"upload", false, func() error {
			_, err := s.UploadTemplate(ctx, ann, &servertemplate.Template{Name: "Second", Images: []servertemplate.Image{{Name: "Image", Full: true, Tags: []string{"a:b=c"}}}})
			return err
		}},
		{"credential", false, func() error { return s.SetCredential(ctx, ann, "C", "", secret.String("v")) }},
		{"login", false, func() error {
			return s.SetLoginUser(ctx, ann, store.LoginUser{Username: "bob", PublicKeys: []string{publicKey(t)}})
		}},
		{"no login", false, func() error { return s.RemoveLoginUser(ctx, ann, "bob") }},
		{"delete", false, func() error { return s.DeleteServer(ctx, ann, "web", false) }},
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			before := last()
			require.NoError(t, c.do())
			name := ""
			if c.ofServer {
				name = "web"
			}
			list, err := s.AuditEntries(ctx, DefaultAccount, name, before, 0)
			require.NoError(t, err)
			require.NotEmpty(t, list)
			for _, e := range list {
				require.Equal(t, ann.Who, e.UserEmail, e.Summary)
			}
		})
	}
	// The first entries of a server too.
	list, err := s.AuditEntries(ctx, DefaultAccount, "", 0, 0)
	require.NoError(t, err)
	for _, e := range list {
		require.NotEmpty(t, e.UserEmail, e.Summary)
	}
}
