// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rightscript

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const hello = `#!/bin/bash
# some words
# ---
# RightScript Name: Hello
# Description: >
#   two
#   lines
# Packages: "curl  jq"
# Inputs:
#   WHO:
#     Category: Greeting
#     Input Type: single
#     Required: true
#     Advanced: false
#     Default: text:you
#     Possible Values: ["text:you", "text:me"]
#   LIST:
#     Input Type: array
#     Default: array:["text:a","cred:B"]
# Attachments:
#   - a.deb
# ...
echo "$WHO"
`

func TestParse(t *testing.T) {
	for name, source := range map[string]string{
		"hash":   hello,
		"slash":  strings.ReplaceAll(hello, "# ", "// "),
		"dashes": strings.ReplaceAll(hello, "# ", "-- "),
		"crlf":   strings.ReplaceAll(hello, "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(source)
			require.NoError(t, err)
			require.Equal(t, "Hello", m.Name)
			require.Equal(t, "two lines\n", m.Description)
			require.Equal(t, "curl jq", m.Packages)
			require.Equal(t, []string{"a.deb"}, m.Attachments)
			require.Len(t, m.Inputs, 2)
			require.Equal(t, "WHO", m.Inputs[0].Name)
			require.True(t, m.Inputs[0].Required)
			require.Equal(t, Value{Kind: KindText, Text: "you"}, m.Inputs[0].Default)
			require.Equal(t, `array:["text:a","cred:B"]`, m.Inputs[1].Default.String())
		})
	}
	m, err := Parse("#!/bin/sh\necho hi\n")
	require.NoError(t, err)
	require.Nil(t, m)
}

func TestParseProblemsCarryTheFilesLines(t *testing.T) {
	for name, tc := range map[string]struct {
		source string
		line   int
		text   string
	}{
		"unknown key":     {"#!/bin/sh\n# ---\n# RightScript Name: x\n# Inputs: {}\n# Color: red\n# ...\n", 5, `unknown key "Color"`},
		"yaml syntax":     {"\n\n# ---\n# RightScript Name: x\n# Inputs: {\n# ...\n", 5, "not valid YAML"},
		"not closed":      {"# ---\n# RightScript Name: x\necho\n", 3, "not closed"},
		"never closed":    {"# ---\n# RightScript Name: x", 1, "not closed"},
		"no inputs":       {"# ---\n# RightScript Name: x\n# ...\n", 2, "Inputs: the key is missing"},
		"no name":         {"# ---\n# Inputs: {}\n# ...\n", 2, "RightScript Name"},
		"bad bool":        {"# ---\n# RightScript Name: x\n# Inputs:\n#   A:\n#     Required: perhaps\n# ...\n", 5, `want true or false, got "perhaps"`},
		"bad type":        {"# ---\n# RightScript Name: x\n# Inputs:\n#   A:\n#     Input Type: many\n# ...\n", 5, "want single or array"},
		"bad default":     {"# ---\n# RightScript Name: x\n# Inputs:\n#   A:\n#     Default: you\n# ...\n", 5, "want one of text:VALUE"},
		"not possible":    {"# ---\n# RightScript Name: x\n# Inputs:\n#   A:\n#     Default: text:z\n#     Possible Values: [\"text:y\"]\n# ...\n", 4, "does not take text:z"},
		"reserved":        {"# ---\n# RightScript Name: x\n# Inputs:\n#   RS_A: {}\n# ...\n", 4, "is reserved"},
		"bad name":        {"# ---\n# RightScript Name: x\n# Inputs:\n#   A-B: {}\n# ...\n", 4, "cannot be an environment variable"},
		"twice":           {"# ---\n# RightScript Name: x\n# Inputs:\n#   A: {}\n#   A: {}\n# ...\n", 5, "given twice"},
		"attachment path": {"# ---\n# RightScript Name: x\n# Inputs: {}\n# Attachments: [\"../x\"]\n# ...\n", 4, "not a plain file name"},
		"indent":          {"# ---\n#RightScript Name: x\n# ...\n", 2, "must begin with"},
		"empty":           {"# ---\n# ...\n", 2, "empty"},
		"alias":           {"# ---\n# RightScript Name: &a x\n# Description: *a\n# Inputs: {}\n# ...\n", 3, "alias"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.source)
			var ps Problems
			require.ErrorAs(t, err, &ps)
			require.Equal(t, tc.line, ps[0].Line, "%v", ps)
			require.Contains(t, ps[0].Text, tc.text)
		})
	}
}

func TestParseTellsEverythingAtOnce(t *testing.T) {
	_, err := Parse("# ---\n# Color: x\n# Inputs:\n#   A:\n#     Required: 7\n#     Default: x\n# ...\n")
	var ps Problems
	require.ErrorAs(t, err, &ps)
	require.Len(t, ps, 4, "%v", ps) // key, bool, default, name
}

func TestValues(t *testing.T) {
	good := map[string]Value{
		"text:":               {Kind: KindText},
		"text:a:b":            {Kind: KindText, Text: "a:b"},
		"cred:DB_PASSWORD":    {Kind: KindCred, Text: "DB_PASSWORD"},
		"env:EC2_INSTANCE_ID": {Kind: KindEnv, Text: "EC2_INSTANCE_ID"},
		"env:db 1:PRIVATE_IP": {Kind: KindEnv, Component: "db 1", Text: "PRIVATE_IP"},
		"key:mine":            {Kind: KindKey, Text: "mine"},
		"key:mine:1":          {Kind: KindKey, Text: "mine", Component: "1"},
		"blank":               {Kind: KindBlank},
		"ignore":              {Kind: KindIgnore},
		"inherit":             {Kind: KindInherit},
		`array:["text:a"]`:    {Kind: KindArray, Items: []Value{{Kind: KindText, Text: "a"}}},
		"array:[]":            {Kind: KindArray, Items: []Value{}},
	}
	for text, want := range good {
		got, err := ParseValue(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		require.Equal(t, text, got.String())
	}
	for _, bad := range []string{
		"", "x", "Text:a", "cred:", "cred:a\nb", "env:", "env:a-b", "env::X", "array:", "array:[1]", `array:["blank"]`,
		`array:["array:[]"]`, "text:a\x00b", "text:\xff", "text:" + strings.Repeat("x", MaxValue), "ignore:$ignore",
	} {
		_, err := ParseValue(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestInputJSONRoundTrip(t *testing.T) {
	m, err := Parse(hello)
	require.NoError(t, err)
	m.Inputs = append(m.Inputs, Input{Name: "NONE", Type: TypeSingle})
	raw, err := json.Marshal(m.Inputs)
	require.NoError(t, err)
	var got []Input
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Equal(t, m.Inputs, got)
}

func FuzzParse(f *testing.F) {
	f.Add(hello)
	f.Add("# ---\n# RightScript Name: &a x\n# Inputs: {<<: *a}\n# ...\n")
	f.Add("-- ---\n-- Inputs: [")
	f.Fuzz(func(t *testing.T, source string) {
		m, err := Parse(source)
		if err != nil && m != nil {
			t.Fatal("both a result and an error")
		}
		if m == nil {
			return
		}
		for _, in := range m.Inputs {
			if CheckInputName(in.Name) != nil {
				t.Fatalf("bad input name %q accepted", in.Name)
			}
		}
	})
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"text:a", `array:["text:a","cred:B"]`, "env:a:B", "key:a:b", "blank"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseValue(s)
		if err != nil {
			return
		}
		again, err := ParseValue(v.String())
		if err != nil || again.String() != v.String() {
			t.Fatalf("%q became %q: %v", s, v.String(), err)
		}
	})
}
