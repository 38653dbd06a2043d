// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"errors"
	"io"
	stdmime "mime"
	"mime/multipart"
	"net/mail"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var demo = Settings{TokenID: 4711, Token: "0123456789abcdef", Account: 71, Server: "rs.example.net"}

func TestQuery(t *testing.T) {
	got, err := Build(FormQuery, demo)
	require.NoError(t, err)
	require.Equal(t, "RS_rn_url=amqp://rightlink@rs.example.net/right_net&RS_rn_id=4711&RS_rn_auth=0123456789abcdef&RS_server=rs.example.net&RS_account=71", got)

	full := demo
	full.Server, full.Version, full.HTTPProxy, full.NoProxy, full.Own = "10.0.0.1:8443", "0.1.0", "p:3128", "a,b", "MY_ROLE=web&X=1\n"
	got, err = Build(FormQuery, full)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(got, "&RS_server=10.0.0.1:8443&RS_account=71&RS_version=0.1.0&RS_http_proxy=p:3128&RS_http_no_proxy=a,b&MY_ROLE=web&X=1"), got)

	full.Own = "#!/bin/sh\necho\n"
	_, err = Build(FormQuery, full)
	require.ErrorContains(t, err, "several lines")
}

type mimePart struct{ kind, id, body string }

func readParts(t *testing.T, doc string) []mimePart {
	t.Helper()
	msg, err := mail.ReadMessage(strings.NewReader(doc))
	require.NoError(t, err)
	kind, params, err := stdmime.ParseMediaType(msg.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/mixed", kind)
	require.True(t, strings.HasPrefix(params["boundary"], "Boundary_"))
	var parts []mimePart
	for mr := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts
		}
		require.NoError(t, err)
		body, err := io.ReadAll(p)
		require.NoError(t, err)
		parts = append(parts, mimePart{p.Header.Get("Content-Type"), p.Header.Get("Content-ID"), string(body)})
	}
}

const wantIdentity = "client_id='4711'\nclient_secret='0123456789abcdef'\naccount='71'\napi_hostname='rs.example.net'\n"

func TestMimeShellscript(t *testing.T) {
	s := demo
	s.Own = "#!/bin/sh\necho own"
	doc, err := Build(FormMime, s)
	require.NoError(t, err)
	again, err := Build(FormMime, s)
	require.NoError(t, err)
	require.Equal(t, doc, again, "the same settings give the same bytes")
	parts := readParts(t, doc)
	require.Len(t, parts, 2)
	require.Equal(t, "text/x-shellscript", parts[0].kind)
	require.NotEmpty(t, parts[0].id)
	require.Equal(t, mimePart{"text/x-shellscript", parts[1].id, "#!/bin/sh\necho own"}, parts[1])

	// Run the identity part for real, with the file in a scratch directory.
	dir := t.TempDir()
	script := strings.ReplaceAll(parts[0].body, IdentityPath, dir+"/id")
	out, err := exec.Command("bash", "-c", script+"\ncat "+dir+"/id; stat -c %a "+dir+"/id").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, wantIdentity+"600\n", string(out))
}

func TestMimeCloudConfig(t *testing.T) {
	s := demo
	s.Own = "http://example.net/more"
	doc, err := Build(FormMimeCloudConfig, s)
	require.NoError(t, err)
	parts := readParts(t, doc)
	require.Equal(t, "text/cloud-config", parts[0].kind)
	require.Equal(t, "text/x-include-url", parts[1].kind)
	require.True(t, strings.HasPrefix(parts[0].body, "#cloud-config\n"))
	var cfg struct {
		WriteFiles []struct{ Path, Permissions, Content string } `yaml:"write_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(parts[0].body), &cfg))
	require.Equal(t, IdentityPath, cfg.WriteFiles[0].Path)
	require.Equal(t, "0600", cfg.WriteFiles[0].Permissions)
	require.Equal(t, wantIdentity, cfg.WriteFiles[0].Content)

	s.Own = "#include\nhttp://x"
	doc, err = Build(FormMimeCloudConfig, s)
	require.NoError(t, err)
	require.Equal(t, "text/plain", readParts(t, doc)[1].kind)
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Settings)
		want   string
	}{
		"server injects": {func(s *Settings) { s.Server = "h&RS_src=http://evil" }, "server"},
		"server scheme":  {func(s *Settings) { s.Server = "https://h" }, "without a scheme"},
		"server newline": {func(s *Settings) { s.Server = "h\n" }, "server"},
		"token quote":    {func(s *Settings) { s.Token = "a'b" }, "token"},
		"no token":       {func(s *Settings) { s.Token = "" }, "token"},
		"version":        {func(s *Settings) { s.Version = "1;rm" }, "RightLink version"},
		"proxy":          {func(s *Settings) { s.HTTPProxy = "x'$(id)" }, "http proxy"},
		"no proxy":       {func(s *Settings) { s.NoProxy = "a b" }, "no proxy"},
		"own NUL":        {func(s *Settings) { s.Own = "a\x00" }, "own user-data"},
		"ids":            {func(s *Settings) { s.TokenID, s.Account = 0, 0 }, "account"},
		"too large":      {func(s *Settings) { s.Own = strings.Repeat("x", MaxSize) }, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			s := demo
			tc.change(&s)
			_, err := Build(FormQuery, s)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "0123456789abcdef")
		})
	}
	s := demo
	base, err := Build(FormQuery, s)
	require.NoError(t, err)
	s.Own = strings.Repeat("x", MaxSize-len(base)-1) // with "&" exactly the limit
	doc, err := Build(FormQuery, s)
	require.NoError(t, err)
	require.Len(t, doc, MaxSize)
	s.Own += "x"
	_, err = Build(FormQuery, s)
	require.ErrorIs(t, err, ErrTooLarge)
	s.Token = "a'b"
	_, err = Build(FormMime, s)
	require.Error(t, err)
	_, err = Build("json", demo)
	require.ErrorContains(t, err, "unknown form")
}
