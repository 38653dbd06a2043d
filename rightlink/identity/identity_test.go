// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `# written by bootstrap
client_id='4711'
client_secret='0123456789abcdef'
account='71'
api_hostname='rs.example.net:8443'
http_proxy='user:p@ss@10.0.0.1:3128'
no_proxy=a.example.net,b.example.net
`

func TestParse(t *testing.T) {
	id, err := Parse(sample)
	require.NoError(t, err)
	require.Equal(t, "4711", id.ClientID)
	require.Equal(t, int64(71), id.AccountID())
	require.Equal(t, "0123456789abcdef", id.ClientSecret.Reveal())
	require.Equal(t, "https://rs.example.net:8443/api", id.APIURL())
	require.Equal(t, "user:p@ss@10.0.0.1:3128", id.HTTPProxy)
	require.Equal(t, "a.example.net,b.example.net", id.NoProxy)
	require.Equal(t, "rs-instance-9bbdbb80d37d69e9bcd7412192c0735e5a792155-4711", id.AgentID())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", id, id, id), "0123456789abcdef")
}

func TestParseForms(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"single":        {`client_secret='a$b` + "`c`" + `"d'`, "a$b`c`\"d"},
		"escaped quote": {`client_secret='it'\''s'`, "it's"},
		"double":        {`client_secret="a\"b\$c"`, `a"b$c`},
		"bare":          {`client_secret=abc # comment`, "abc"},
		"export, CRLF":  {"export client_secret=abc\r\n", "abc"},
		"newline":       {"client_secret='a\nb'", "a\nb"},
		"last one wins": {"client_secret=a;client_secret=b", "b"},
		"not executed":  {"client_secret='$(touch /tmp/x)'", "$(touch /tmp/x)"},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := assignments(tc.text)
			require.NoError(t, err)
			require.Equal(t, tc.want, values["client_secret"])
		})
	}
}

func TestParseReportsEverything(t *testing.T) {
	_, err := Parse("client_id=x\napi_hostname=https://h/\n")
	for _, want := range []string{`client_id "x"`, "client_secret is missing", "account is missing", `api_hostname "https://h/"`} {
		require.ErrorContains(t, err, want)
	}
	_, err = Parse("client_id='1'\nrm -rf /\n")
	require.ErrorContains(t, err, "line 2")
	_, err = Parse("client_id='1\n")
	require.ErrorContains(t, err, "not closed")
}

func TestLoadAbsent(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, ErrAbsent)
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(`a="\`)
	f.Add("a='\n'\nb=\\")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := Parse(text)
		if err == nil && (id.ClientID == "" || strings.ContainsAny(id.APIHostname, "/ ")) {
			t.Errorf("accepted %q", text)
		}
	})
}
