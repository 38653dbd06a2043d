// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var day = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func sample() *Report {
	return &Report{
		Target: "/mnt/<image>", System: "Debian \x1b[31m12", Public: true, Checks: []string{"cred-aws", "fs-modes", "acc-setuid", "pkg-vulnerable"},
		Findings: []Finding{
			{Check: "cred-aws", Severity: Blocker, Path: "/opt/<script>alert(1)</script>", Line: 3, Evidence: "AWS access key\x1b[2J", Remedy: "delete it"},
			{Check: "fs-modes", Severity: Warning, Path: "/etc/x", Evidence: "everybody may write this file"},
			{Check: "acc-setuid", Severity: Info, Path: "/usr/bin/y", Evidence: "setuid"},
		},
		Skipped: []Skipped{{"pkg-vulnerable", "no advisories"}},
	}
}

func TestWaivers(t *testing.T) {
	list, err := ParseWaivers([]byte(`
waivers:
  - id: cred-aws
    path: /opt/**
    reason: a sample
    expires: 2026-06-01
  - id: fs-modes
    path: "*"
    reason: old
    expires: 2026-05-31
  - id: acc-setuid
    path: /elsewhere
    reason: never
    expires: 2030-01-01
`))
	require.NoError(t, err)
	r := sample()
	r.Waive(list, day)
	require.Equal(t, "a sample (until 2026-06-01)", r.Findings[0].Waived, "the last day counts")
	require.Empty(t, r.Findings[1].Waived)
	require.Contains(t, r.Findings[1].Note, "expired on 2026-05-31")
	require.Len(t, r.Unused, 1)
	require.Empty(t, r.Open(Blocker))
	require.Len(t, r.Open(Warning), 1)
}

func TestWaiversAreChecked(t *testing.T) {
	_, err := ParseWaivers([]byte("waivers:\n  - {id: nonsense, path: etc, reason: ' ', expires: soon}\n"))
	for _, part := range []string{`no check "nonsense"`, `"etc" is no path`, "reason: say why", `"soon" is no day`} {
		require.ErrorContains(t, err, part)
	}
	_, err = ParseWaivers([]byte("waivers:\n  - {id: cred-aws, file: /x}\n"))
	require.ErrorContains(t, err, "file")
	list, err := ParseWaivers(nil)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestFormats(t *testing.T) {
	r := sample()
	r.Findings[2].Waived = "reason (until 2030-01-01)"
	out := map[string]string{}
	for _, format := range Formats() {
		var b bytes.Buffer
		require.NoError(t, r.Write(&b, format))
		out[format] = b.String()
		if format != "json" && format != "sarif" { // those escape
			require.NotContains(t, b.String(), "\x1b", format)
		}
	}
	require.Contains(t, out["table"], "1 blocker, 1 warning, 0 info, 1 waived; 4 checks")
	require.NotContains(t, out["html"], "<script>")
	require.Contains(t, out["html"], "default-src 'none'")
	require.NotContains(t, out["html"], "http://")

	back, err := ReadJSON([]byte(out["json"]))
	require.NoError(t, err)
	require.Equal(t, r, back)

	var sarif struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Suppressions  []struct{ Justification string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out["sarif"]), &sarif))
	require.Equal(t, "2.1.0", sarif.Version)
	require.Len(t, sarif.Runs[0].Tool.Driver.Rules, 4)
	require.Equal(t, "error", sarif.Runs[0].Results[0].Level)
	require.Equal(t, 3, sarif.Runs[0].Results[0].Locations[0].PhysicalLocation.Region.StartLine)
	require.NotEmpty(t, sarif.Runs[0].Results[2].Suppressions)

	var junit struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	require.NoError(t, xml.Unmarshal([]byte(out["junit"]), &junit))
	require.Equal(t, 4, junit.Tests)
	require.Equal(t, 2, junit.Failures)
	require.Equal(t, 1, junit.Skipped)
	require.ErrorContains(t, r.Write(nil, "pdf"), "it is one of table, json")
}

func TestPrivateImagesAreOneLower(t *testing.T) {
	e := &engine{o: Options{}}
	x := &probe{engine: e, Check: Find("cred-histories")}
	x.at("/root/.bash_history", "x")
	y := &probe{engine: e, Check: Find("cred-aws")}
	y.at("/x", "x")
	require.Equal(t, Warning, e.found[0].Severity)
	require.Equal(t, Blocker, e.found[1].Severity)
}

func TestMatching(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"/etc/shadow", "/etc/shadow", true}, {"/etc/shadow", "/etc/shadow-", false}, {"/etc/*", "/etc/a/b", false},
		{"/var/log/**", "/var/log/a/b", true}, {"/var/log/**", "/var/log", false}, {"/etc/nginx/**/*.key", "/etc/nginx/a/b.key", true},
		{"/etc/nginx/**/*.key", "/etc/nginx/b.key", true}, {"/etc/nginx/**/*.key", "/etc/nginx/b.crt", false},
		{"~/.ssh/id_*", "/root/.ssh/id_rsa", true}, {"~/.ssh/id_*", "/home/a/.ssh/id_rsa", true}, {"~/.ssh/id_*", "/etc/.ssh/id_rsa", false},
		{"~/.*_history", "/home/a/.bash_history", true}, {"*.p12", "/a/b.p12", true}, {"*.p12", "/a/b.p12x", false}, {"core.[0-9]*", "/x/core.12", true},
		{"terraform.tfstate*", "/x/terraform.tfstate.backup", true}, {"/**/.git/config", "/a/b/.git/config", true}, {"authorized_keys", "/a/authorized_keys", true},
	} {
		hit := false
		m := newMatcher([]*Check{{rules: []rule{on(nil, tc.pattern)}}}, []string{"/root", "/home/a"})
		m.each(tc.path, func(target) { hit = true })
		require.Equal(t, tc.want, hit, "%s %s", tc.pattern, tc.path)
	}
}

func TestChecksAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		require.False(t, seen[c.ID], c.ID)
		seen[c.ID] = true
		require.NotEmpty(t, c.Pass, c.ID)
		require.NotEmpty(t, c.Remedy, c.ID)
		require.True(t, c.Class != Disk || len(c.rules) > 0 || c.whole != nil || strings.HasPrefix(c.ID, "cred-"), c.ID)
	}
}

func FuzzSSHD(f *testing.F) {
	f.Add("Match all\nPasswordAuthentication=no\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseLines("x", text) {
			l.key()
			l.setting()
			l.userinfo()
		}
	})
}

func FuzzInitramfs(f *testing.F) {
	f.Add([]byte("070701"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readInitramfs(bytes.NewReader(data)) })
}
