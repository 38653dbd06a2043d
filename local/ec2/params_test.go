// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, query string) params {
	t.Helper()
	form, err := url.ParseQuery(query)
	require.NoError(t, err)
	return newParams(form)
}

func TestParams(t *testing.T) {
	p := parse(t, "Action=X&Version=1&Id.2=b&Id.10=c&Id.1=a&B.1.Ebs.Size=3&B.1.Ebs.Del=false&B.2.Ebs.Size=x&Flag=true")
	require.Equal(t, []string{"a", "b", "c"}, p.list("Id"))
	require.True(t, p.flag("Flag", false))
	require.True(t, p.flag("Absent", true))
	devices := p.each("B")
	require.Len(t, devices, 2)
	require.EqualValues(t, 3, devices[0].number("Ebs.Size", 0, 1, 9))
	require.False(t, devices[0].flag("Ebs.Del", true))
	require.NoError(t, p.problem())
	require.Empty(t, p.str("Nothing.Here"))
	require.EqualValues(t, 0, devices[1].number("Ebs.Size", 0, 1, 9))
	require.ErrorContains(t, p.problem(), "Ebs.Size")
	require.Empty(t, p.unread())
}

func TestUnreadParametersAreNamed(t *testing.T) {
	p := parse(t, "A=1&B.1.C=2&B.1.D=3&E.F.G=4&L.x=5")
	p.str("A")
	p.each("B")[0].str("C")
	p.list("L")
	require.Equal(t, []string{"B.1.D", "E.F.G", "L.x"}, p.unread())
	p.ignore("E", "L", "B")
	require.Empty(t, p.unread())
}

func TestWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", false}, {"a*", "a\nb", true}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{`a\*`, "a*", true}, {`a\*`, "ab", false}, {"(a.c)", "(abc)", false}, {"", "", true}, {`\\`, `\`, true},
	} {
		require.Equal(t, tc.want, wildcard(tc.pattern).MatchString(tc.value), "%q %q", tc.pattern, tc.value)
	}
}

func FuzzParams(f *testing.F) {
	f.Add("A.1.B=2&A.1=3&A=4&A..=5")
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		p := newParams(form)
		p.filters()
		p.tagSpecs("image")
		p.blockDevices()
		p.ignore("A")
		p.unread()
		wildcard(query)
	})
}

func TestLookupType(t *testing.T) {
	for name, want := range map[string]string{
		"t3.micro": "x86_64", "t4g.small": "arm64", "m5.large": "x86_64", "c7g.xlarge": "arm64", "m1.small": "x86_64",
		"m5.micro": "", "t3": "", "t3.": "", "x.large": "", "": "",
	} {
		got, ok := lookupType(name)
		require.Equal(t, want != "", ok, name)
		if ok {
			require.Equal(t, want, got.architecture, name)
		}
	}
}

func TestUnsupportedAndUnknownActions(t *testing.T) {
	require.ErrorContains(t, unsupported("CreateVpc"), "UnsupportedOperation")
	require.ErrorContains(t, unsupported("CreateVpd"), "InvalidAction")
	seen := map[string]bool{}
	for _, table := range (&Service{}).actions() {
		for name := range table {
			require.ErrorContains(t, unsupported(name), "UnsupportedOperation", "the action list must hold %s", name)
			require.False(t, seen[name], "%s is in two tables", name)
			seen[name] = true
		}
	}
}
