// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

const (
	query = "RS_rn_url=amqp://b7c2:9f1e@broker1.example.net/right_net&RS_rn_host=:1,broker2.example.net:0&RS_rn_id=4711" +
		"&RS_rn_auth=0123456789abcdef&RS_account=71&RS_server=rs.example.net&RS_version=5.8.8&RS_API_TOKEN=71:c0ffee00c0ffee00"
	identity = "client_id='4711'\nclient_secret='0123456789abcdef'\naccount='71'\napi_hostname='rs.example.net'\n"
	script   = "#! /bin/bash\ncat <<'EOF' >/var/lib/rightscale-identity\n" + identity + "EOF\nchmod 0600 /var/lib/rightscale-identity\n"
)

func cloudConfigDoc() string {
	return "#cloud-config\nwrite_files:\n  - path: /var/lib/rightscale-identity\n    permissions: '0600'\n    content: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(identity), "\n", "\n      ") + "\n"
}

func mimeDoc(parts ...string) string {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=\"Boundary_k3x9\"\nMIME-Version: 1.0\n\n")
	for _, p := range parts {
		kind := "text/plain"
		switch {
		case strings.HasPrefix(p, "#!"):
			kind = "text/x-shellscript"
		case strings.HasPrefix(p, "#cloud-config"):
			kind = "text/cloud-config"
		case strings.HasPrefix(p, "http"):
			kind = "text/x-include-url"
		}
		fmt.Fprintf(&b, "--Boundary_k3x9\nContent-Type: %s\nContent-ID: <a1@b2.local>\n\n%s\n", kind, p)
	}
	b.WriteString("--Boundary_k3x9--\n")
	return b.String()
}

func zip(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func TestSettingsOfEveryForm(t *testing.T) {
	include := "http://rs.example.net/rll/10/rightlink.boot.sh"
	b64 := base64.StdEncoding.EncodeToString
	tests := map[string]struct {
		raw  string
		form Form
	}{
		"query":                   {query, FormQuery},
		"query, user part first":  {"MY_ROLE=web&" + query, FormQuery},
		"query, user part last":   {query + "&MY_ROLE=web&x", FormQuery},
		"query after a script":    {"#!/bin/sh\necho hello\n&" + query, FormQuery},
		"query, newlines":         {strings.ReplaceAll(query, "&", "\n"), FormQuery},
		"query, CRLF":             {strings.ReplaceAll(query, "&", "\r\n") + "\r\n", FormQuery},
		"query, appended line":    {"MY_ROLE=web&A=b\n" + query, FormQuery},
		"query, upper case":       {strings.NewReplacer("rn_id", "RN_ID", "rn_auth", "RN_AUTH", "account", "ACCOUNT", "server", "SERVER").Replace(query), FormQuery},
		"query, gzip":             {zip(query), FormQuery},
		"query, spaces":           {" " + strings.ReplaceAll(query, "&", " & ") + "\n", FormQuery},
		"query, byte order mark":  {"\ufeff" + query, FormQuery},
		"mime, script":            {mimeDoc(script, include), FormMIME},
		"mime, CRLF":              {strings.ReplaceAll(mimeDoc(script, include), "\n", "\r\n"), FormMIME},
		"mime, gzip":              {zip(mimeDoc(script, include)), FormMIME},
		"mime, cloud-config":      {mimeDoc(cloudConfigDoc(), "#!/bin/sh\ntrue"), FormMIME},
		"mime, user part":         {mimeDoc("#!/bin/sh\ntrue", script, "just text"), FormMIME},
		"mime, leading blank":     {"\n" + mimeDoc(script), FormMIME},
		"mime, cut off":           {strings.TrimSuffix(mimeDoc(script, include), "--Boundary_k3x9--\n"), FormMIME},
		"cloud-config":            {cloudConfigDoc(), FormCloudConfig},
		"cloud-config, CRLF":      {strings.ReplaceAll(cloudConfigDoc(), "\n", "\r\n"), FormCloudConfig},
		"cloud-config, base64":    {"#cloud-config\nwrite_files:\n- {path: /var/lib/rightscale-identity, encoding: b64, content: " + b64([]byte(identity)) + "}\n", FormCloudConfig},
		"cloud-config, gz+b64":    {"#cloud-config\nwrite_files:\n- {path: /var/lib/rightscale-identity, encoding: gz+b64, content: " + b64([]byte(zip(identity))) + "}\n", FormCloudConfig},
		"cloud-config, odd types": {cloudConfigDoc() + "  - path: [1]\nusers: {a: b}\n", FormCloudConfig},
		"script":                  {script, FormScript},
		"script, other order":     {"#!/bin/sh\ncat > \"/var/lib/rightscale-identity\" <<-EOF\n\t" + strings.ReplaceAll(identity, "\n", "\n\t") + "EOF\n", FormScript},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Parse([]byte(tc.raw))
			if d.Form != tc.form {
				t.Errorf("form %s, want %s", d.Form, tc.form)
			}
			if string(d.Raw) != tc.raw {
				t.Error("raw bytes changed")
			}
			s, ok := d.Settings()
			if !ok || s.ClientID != "4711" || s.ClientSecret.Reveal() != "0123456789abcdef" || s.Account != "71" || s.APIHostname != "rs.example.net" {
				t.Errorf("settings %+v %v, problems %v %v", s, ok, d.Problems, d.Incomplete())
			}
			back, ok := ParseIdentity(s.Identity())
			back.Form, back.Version, back.Src, back.PatchURL = s.Form, s.Version, s.Src, s.PatchURL
			if !ok || back != s {
				t.Errorf("identity does not round-trip: %+v, want %+v", back, s)
			}
		})
	}
}

func TestNoSettings(t *testing.T) {
	tests := map[string]struct {
		raw        string
		form       Form
		incomplete string
	}{
		"empty":              {"", FormEmpty, ""},
		"blank":              {" \r\n\t\n", FormEmpty, ""},
		"user's own":         {"role=web&env=test", FormQuery, ""},
		"version only":       {"RS_version=10.6.4", FormQuery, ""},
		"no token":           {"RS_account=1&RS_rn_id=7&RS_server=h", FormQuery, "RS_rn_auth is missing"},
		"empty token":        {"RS_account=1&RS_rn_id=7&RS_server=h&RS_rn_auth=", FormQuery, "RS_rn_auth is missing"},
		"no server":          {"RS_account=1&RS_rn_id=7&RS_rn_auth=x", FormQuery, "RS_server is missing"},
		"server with scheme": {"RS_rn_id=7&RS_rn_auth=x&RS_server=https://h/&RS_account=1", FormQuery, "RS_server is not a host name or host:port without scheme"},
		"server with code":   {"RS_rn_id=7&RS_rn_auth=x&RS_account=1&RS_server=$(reboot)", FormQuery, "RS_server is not a host name or host:port without scheme"},
		"id with quote":      {"RS_account=1&RS_rn_id=7'&RS_rn_auth=x&RS_server=h", FormQuery, "RS_rn_id is not a token id"},
		"no account":         {"RS_rn_id=7&RS_rn_auth=x&RS_server=h", FormQuery, "RS_account is missing"},
		"account not number": {"RS_rn_id=7&RS_rn_auth=x&RS_server=h&RS_account=a", FormQuery, "RS_account is not an account number"},
		"script":             {"#!/bin/sh\nRS_rn_id=7\nRS_rn_auth=x\nRS_server=h\n", FormScript, ""},
		"half here-document": {"#!/bin/sh\ncat <<EOF >/var/lib/rightscale-identity\n" + identity, FormScript, ""},
		"commented out":      {"#!/bin/sh\n# cat <<EOF >/var/lib/rightscale-identity\n" + identity + "EOF\n", FormScript, ""},
		"other file":         {strings.ReplaceAll(script, "rightscale-identity", "rightscale-identity2"), FormScript, ""},
		"identity, no acct":  {strings.ReplaceAll(script, "account='71'\n", ""), FormScript, "account is missing"},
		"cloud-config":       {"#cloud-config\npackages: [jq]\n", FormCloudConfig, ""},
		"bad cloud-config":   {"#cloud-config\n\t- [", FormCloudConfig, ""},
		"json":               {`{"a":"b=c&d=e"}`, FormRaw, ""},
		"json with ours":     {`{"RS_rn_id":"7"}`, FormRaw, ""},
		"powershell":         {"<powershell>\n$a=1\n</powershell>", FormRaw, ""},
		"binary":             {"\x00\x01=\xff&", FormRaw, ""},
		"words":              {"hello world", FormRaw, ""},
		"cut gzip":           {zip(query)[:40], FormRaw, ""},
		"bomb":               {zip(strings.Repeat("a", maxBody+1)), FormRaw, ""},
		"mime, no parts":     {"Content-Type: multipart/mixed; boundary=x\n\n", FormMIME, ""},
		"mime, not multi":    {"Content-Type: text/plain\n\nhello", FormRaw, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Parse([]byte(tc.raw))
			if s, ok := d.Settings(); ok {
				t.Errorf("found settings %+v", s)
			}
			if d.Form != tc.form {
				t.Errorf("form %s, want %s", d.Form, tc.form)
			}
			if got := strings.Join(d.Incomplete(), "; "); got != tc.incomplete {
				t.Errorf("incomplete %q, want %q", got, tc.incomplete)
			}
		})
	}
}

func TestPairs(t *testing.T) {
	tests := map[string]struct {
		raw  string
		want []Pair
	}{
		"order and spelling": {"b=1&A=2&rs_x=", []Pair{{"b", "1"}, {"A", "2"}, {"rs_x", ""}}},
		"last wins":          {"a=1&b=2&a=3", []Pair{{"a", "3"}, {"b", "2"}}},
		"first = splits":     {"a=b=c", []Pair{{"a", "b=c"}}},
		"trimmed":            {" a = b \n& c=d", []Pair{{"a", "b"}, {"c", "d"}}},
		"no = dropped":       {"a=1&junk&=x&b=2", []Pair{{"a", "1"}, {"b", "2"}}},
		"not decoded":        {"a=%26+x&b=http%3a//", []Pair{{"a", "%26+x"}, {"b", "http%3a//"}}},
		"newline in value":   {"a=1\n2&b=3", []Pair{{"a", "1\n2"}, {"b", "3"}}},
		"RS_ on its line":    {"a=1\nRS_b=2&c=3", []Pair{{"a", "1"}, {"RS_b", "2"}, {"c", "3"}}},
		"newlines only":      {"a=1\n\njunk\nb=2\n", []Pair{{"a", "1"}, {"b", "2"}}},
		"hostile":            {"../x=`id`&$(id)=\"'\\&RS_rn_id=\x00\xff", []Pair{{"../x", "`id`"}, {"$(id)", "\"'\\"}, {"RS_rn_id", "\x00\xff"}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Parse([]byte(tc.raw)).Pairs; !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestOptionalSettings(t *testing.T) {
	d := Parse([]byte("RS_API_TOKEN=71:abc&RS_rn_id=7&RS_rn_auth=s&RS_server=[fd00::1]:8443&RS_http_proxy=u:p@proxy:3128&RS_http_no_proxy=a,b&RS_EIP=192.0.2.1" +
		"&RS_src=http://10.0.0.5/Dev-1.deb%20x&RS_patch_url=http://h/p&RS_version=5.8RC1"))
	s, ok := d.Settings()
	want := Settings{ClientID: "7", Account: "71", ClientSecret: "s", APIHostname: "[fd00::1]:8443", HTTPProxy: "u:p@proxy:3128", NoProxy: "a,b",
		ExpectedPublicIP: "192.0.2.1", Src: "http://10.0.0.5/Dev-1.deb", PatchURL: "http://h/p", Version: "5.8", Form: FormQuery}
	if !ok || s != want {
		t.Errorf("got %+v %v", s, ok)
	}
	s, ok = Parse([]byte("RS_account=1&RS_rn_id=7&RS_rn_auth=s&RS_server=h&RS_http_proxy=a\x01b")).Settings()
	if !ok || s.HTTPProxy != "" {
		t.Errorf("a malformed proxy is not dropped: %+v %v", s, ok)
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	d := Parse([]byte(query))
	s, _ := d.Settings()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "data", d, "settings", s)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", d, d, d, d), fmt.Sprintf("%v %+v %#v", s, s, s), log.String()} {
		if strings.Contains(text, "0123456789abcdef") {
			t.Errorf("secret printed: %s", text)
		}
	}
}

// TestSeedKeysAgreeWithExpr compares our rules with the command that the
// original used.
func TestSeedKeysAgreeWithExpr(t *testing.T) {
	expr, err := exec.LookPath("expr")
	if err != nil {
		t.Skip("no expr on this machine")
	}
	texts := []string{
		"", "x", "RS_version=5.8.8", "RS_version=5.8.8&RS_version=6.0", "RS_version=6&RS_version=", "RS_version=0", "RS_version=-0", "RS_version=00",
		"RS_version=5.8RC1", "XRS_version=1", "RS_VERSION=1", "a=1\nRS_version=7\nb=2", "RS_version=10.6.4_rc-1&x=RS_version=9.9", "RS_version=é",
		"RS_src=http%3a//x", "RS_src=http://h:80/A_b-c.tgz?q", "RS_src= x",
	}
	for _, text := range texts {
		for _, k := range []struct{ key, set string }{{"RS_version=", "-_.0-9a-z"}, {"RS_src=", "-_./:0-9a-zA-Z"}} {
			cmd := exec.Command(expr, "--", "X"+text, ":", `.*`+k.key+`\([`+strings.TrimPrefix(k.set, "-")+`-]*\)`)
			cmd.Env = []string{"LC_ALL=C"}
			out, err := cmd.Output()
			want := strings.TrimSuffix(string(out), "\n")
			if err != nil {
				want = ""
			}
			accept := versionChar
			if k.key == "RS_src=" {
				accept = urlChar
			}
			if got := exprKey(text, k.key, accept); got != want {
				t.Errorf("%q %s: got %q, expr says %q", text, k.key, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", query, strings.ReplaceAll(query, "&", "\r\n"), zip(query), script, cloudConfigDoc(), mimeDoc(script, "http://x"), mimeDoc(cloudConfigDoc()),
		"../x=`id`&RS_rn_id=\x00\xff", "#cloud-config\na: &a [*a]\n", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Transfer-Encoding: base64\n\n=\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := Parse(raw)
		if !bytes.Equal(d.Raw, raw) {
			t.Fatal("raw bytes changed")
		}
		for _, p := range d.Pairs {
			if p.Key == "" || strings.TrimSpace(p.Value) != p.Value {
				t.Fatalf("bad pair %q", p)
			}
		}
		_ = d.Incomplete()
		s, ok := d.Settings()
		if !ok {
			return
		}
		back, ok := ParseIdentity(s.Identity())
		back.Form, back.Version, back.Src, back.PatchURL = s.Form, s.Version, s.Src, s.PatchURL
		if !ok || back != s {
			t.Fatalf("identity does not round-trip: %+v, want %+v", back, s)
		}
	})
}
