// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package servertemplate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

func TestLoad(t *testing.T) {
	tmpl, err := Load("testdata/web/web.yml")
	require.NoError(t, err)
	require.Equal(t, "Test web", tmpl.Name)
	require.Equal(t, []InputValue{
		{"PORT", rightscript.Value{Kind: rightscript.KindText, Text: "8080"}},
		{"TITLE", rightscript.Value{Kind: rightscript.KindText, Text: "Hello"}},
	}, tmpl.Inputs)
	require.Equal(t, []Binding{
		{Sequence: Boot, Position: 1, Script: 0}, {Sequence: Boot, Position: 2, Script: 1},
		{Sequence: Operational, Position: 1, Script: 1}, {Sequence: Decommission, Position: 1, Script: 2},
	}, tmpl.Bindings)
	require.Equal(t, "curl", tmpl.Scripts[0].Metadata.Packages)
	notes := tmpl.Scripts[0].Attachments[1]
	require.Equal(t, "notes.txt", notes.Name)
	require.Equal(t, int64(12), notes.Size)
	require.Len(t, notes.Digest, 64)
	require.Len(t, tmpl.MultiCloudImages, 1)
	require.Empty(t, tmpl.Warnings)
}

func TestLoadTellsAllProblemsOfAllFiles(t *testing.T) {
	_, err := Load("testdata/broken/broken.yml")
	var ps Problems
	require.ErrorAs(t, err, &ps)
	text := err.Error()
	for _, want := range []string{
		`broken.yml:1: Name: is missing`,
		`broken.yml:2: ServerTemplate: unknown key "Colour"`,
		`broken.yml:5: Inputs: BAD: "nothing": want one of text:VALUE`,
		`broken.yml:8: script "missing.sh": testdata/broken/missing.sh: no such file`,
		`bad.sh:1: the first line must name the interpreter`,
		`bad.sh:5: input A: Required: want true or false`,
		`broken.yml:10: RightScripts: Boot: "X" of publisher "Acme": there is no marketplace`,
		`broken.yml:11: RightScripts: unknown key "Sometimes"`,
	} {
		require.Contains(t, text, want)
	}
	_, err = Load("testdata/broken/noattach.yml")
	require.ErrorContains(t, err, `needs.sh: attachment "gone.deb": testdata/broken/attachments/gone.deb: no such file`)
	require.ErrorContains(t, err, `noattach.yml:3: Inputs: MODE does not take text:slow`)
	require.ErrorContains(t, err, `twin.sh: RightScript Name "Twin" is also the name of`)
}

func TestLoadOddFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":       {"", "the YAML is empty"},
		"list":        {"- a\n", "want a mapping"},
		"two docs":    {"Name: a\n---\nName: b\n", "more than one YAML document"},
		"bad syntax":  {"Name: [\n", "not valid YAML"},
		"seq not map": {"Name: a\nRightScripts: [x]\n", "want a mapping"},
		"huge":        {"Name: " + strings.Repeat("x", MaxSource), "is longer than"},
		"directory":   {"Name: a\nRightScripts: {Boot: [.]}\n", `script "."`},
		"revision":    {"Name: a\nRightScripts: {Boot: [{Name: x, Revision: 4}]}\n", "only 0 (HEAD)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write("t.yml", tc.text))
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := Load(filepath.Join(dir, "none.yml"))
	require.ErrorContains(t, err, "no such file")

	tmpl, err := Load(write("ref.yml", "Name: a\nInputs: {X: 'text:1'}\nRightScripts: {Boot: [{Name: in the account, Revision: head}]}\n"))
	require.NoError(t, err)
	require.Equal(t, []Binding{{Sequence: Boot, Position: 1, Script: -1, Ref: "in the account"}}, tmpl.Bindings)
	require.Empty(t, tmpl.Warnings)

	tmpl, err = Load(write("warn.yml", "Name: a\nInputs: {X: 'text:1'}\n"))
	require.NoError(t, err)
	require.Contains(t, tmpl.Warnings[0].String(), "warn.yml:2: Inputs: X is not an input")
}

func TestExamplesLoad(t *testing.T) {
	paths, err := filepath.Glob("../../example/servertemplates/*/*.yml")
	require.NoError(t, err)
	for _, path := range paths {
		if _, err := Load(path); err != nil && !strings.Contains(err.Error(), "attachment") {
			t.Errorf("%v", err) // attachments are fetched, not committed
		}
	}
}
