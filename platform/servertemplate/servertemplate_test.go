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

// Images of a file are checked with it.
func TestLoadImages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.yml")
	load := func(images string) (*Template, error) {
		require.NoError(t, os.WriteFile(file, []byte("Name: a\nMultiCloudImages:\n"+images), 0o600))
		return Load(file)
	}
	tmpl, err := load("  - {Name: one, Revision: head}\n  - Href: /api/multi_cloud_images/4\n  - Name: full\n    Description: d\n    Tags: [\"a:b=c\"]\n    Settings:\n      - {Cloud: c, Instance Type: t, Image: i, User Data: u}\n")
	require.NoError(t, err)
	require.Equal(t, []Image{
		{Line: 3, Name: "one"}, {Line: 4, Href: "/api/multi_cloud_images/4"},
		{Line: 5, Name: "full", Description: "d", Tags: []string{"a:b=c"}, Full: true, Settings: []ImageSetting{{Line: 9, Cloud: "c", InstanceType: "t", Image: "i", UserData: "u"}}},
	}, tmpl.Images)
	require.Len(t, tmpl.MultiCloudImages, 3)
	for images, want := range map[string]string{
		"  - one.yml\n":                                  `t.yml:3: MultiCloudImages: "one.yml": want a mapping`,
		"  - [x]\n":                                      "t.yml:3: MultiCloudImages: want a mapping",
		"  - Revision: 1\n":                              "t.yml:3: MultiCloudImages: Name: is missing",
		"  - {Name: a, Colour: red}\n":                   `t.yml:3: MultiCloudImages: unknown key "Colour"`,
		"  - {Name: a, Publisher: Acme}\n":               "t.yml:3: MultiCloudImages: \"a\" of publisher \"Acme\": there is no marketplace",
		"  - {Name: a, Tags: [], Revision: 3}\n":         "leave it out where the image is written out",
		"  - {Name: a, Href: /x}\n":                      "Href stands alone",
		"  - {Name: a}\n  - {Name: a}\n":                 `t.yml:4: MultiCloudImages: "a" is given twice`,
		"  - Name: a\n    Settings:\n      - Image: x\n": "t.yml:5: MultiCloudImages: Settings: Cloud: is missing",
		"  - Name: a\n    Settings: x\n":                 "t.yml:4: MultiCloudImages: Settings: want a list",
		"  - Name: a\n    Tags: {a: b}\n":                "t.yml:4: MultiCloudImages: Tags: want a list",
	} {
		_, err := load(images)
		require.ErrorContains(t, err, want)
	}
}

// FuzzLoad throws bytes at the loader: a template, or problems that each name a
// file and its line.
func FuzzLoad(f *testing.F) {
	for _, file := range []string{"testdata/web/web.yml", "testdata/broken/broken.yml", "testdata/web/start.sh"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, []byte("#!/bin/sh\n# ---\n# RightScript Name: s\n# Inputs: {}\n# Attachments: []\n# ...\n"))
	}
	for _, seed := range []string{"", "a", "- a", "Name: a\nRightScripts: {Boot: [s.sh, s.sh], Operational: [s.sh]}\n", "Name: &a b\nDescription: *a\n", "Name: a\nMultiCloudImages: [{Name: x, Settings: [{Cloud: c, Image: i}]}]\n",
		"Name: a\nInputs: {A: \"array:[\\\"text:x\\\"]\"}\n", "? [a]\n: b\n", "Name: !!binary eA==\n", "<<: {a: b}\n"} {
		f.Add([]byte(seed), []byte("#!/bin/sh\n# ---\n# RightScript Name: s\n# Inputs:\n#   A:\n#     Required: maybe\n# Attachments: [x]\n# ...\n"))
	}
	f.Fuzz(func(t *testing.T, text, script []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "t.yml")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "s.sh"), script, 0o600))
		lines := map[string]int{file: strings.Count(string(text), "\n") + 1, filepath.Join(dir, "s.sh"): strings.Count(string(script), "\n") + 1}
		tmpl, err := Load(file)
		if err == nil {
			require.NotEmpty(t, tmpl.Name)
			return
		}
		var problems Problems
		require.ErrorAs(t, err, &problems)
		require.NotEmpty(t, problems)
		for _, p := range problems {
			last, ours := lines[p.File]
			require.True(t, ours || strings.HasPrefix(p.File, dir), "%v", p)
			require.NotEmpty(t, p.Text)
			if p.Line != 0 && ours {
				require.LessOrEqual(t, p.Line, last, "%v", p)
			}
		}
	})
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
