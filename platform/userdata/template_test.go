// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemplate(t *testing.T) {
	for name, tc := range map[string]struct{ own, want string }{
		"value":      {"id={{ rs_agent.client_id }}", "id=4711"},
		"index":      {`{{ rs_agent["api_hostname"] }}`, "rs.example.net"},
		"loop":       {"#cloud-config\n{% for pair in rs_agent -%}\n  {{ pair[0] }}: {{ pair[1] | json }}\n{% endfor %}", "#cloud-config\nclient_id: \"4711\"\nclient_secret: \"0123456789abcdef\"\naccount: \"71\"\napi_hostname: \"rs.example.net\"\n"},
		"if":         {"{% if rs_agent.http_proxy %}proxy{% else %}direct {{ rs_agent.account }}{% endif %}", "direct 71"},
		"if without": {"{{rs_agent.account}}{% if rs_agent.no_proxy %}x{% endif %}", "71"},
		"filters":    {`{{ rs_agent.http_proxy | default: "none" | upcase }} {{ rs_agent.account | base64_encode }}`, "NONE NzE="},
		"trim":       {"a {{- rs_agent.account -}} \n b", "a71b"},
		"absent":     {"[{{ rs_agent.nothing }}]", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := demo
			s.Own = tc.own
			got, err := Build(FormTemplate, s)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestTemplateMistakes(t *testing.T) {
	for name, tc := range map[string]struct{ own, want string }{
		"no mark":      {"#cloud-config\n", "names rs_agent"},
		"tag":          {"rs_agent\n{% include '/etc/passwd' %}", "line 2: {% include"},
		"for":          {"{% for i in (1..9) %}rs_agent{% endfor %}", "want {% for NAME in rs_agent %}"},
		"open for":     {"a\n{% for i in rs_agent %}", "line 2: {% for %} has no {% endfor %}"},
		"open if":      {"{% if rs_agent.account %}", "has no {% endif %}"},
		"crossed":      {"{% for i in rs_agent %}{% if i[0] %}{% endfor %}{% endif %}", "has no {% endif %}"},
		"end alone":    {"rs_agent {% endif %}", "ends nothing"},
		"value":        {"{{ rs_agent.a.b }}", "is no value"},
		"variable":     {"rs_agent {{ x[0] }}", "no variable"},
		"filter":       {"{{ rs_agent.account | shell }}", "filter"},
		"deep":         {strings.Repeat("{% for i in rs_agent %}", 6) + strings.Repeat("{% endfor %}", 6), "nested"},
		"too large":    {"{% for i in rs_agent %}" + strings.Repeat("x", MaxSize) + "{% endfor %}", "too large"},
		"nested bombs": {strings.Repeat("{% for i in rs_agent %}", 4) + strings.Repeat("y", 400) + strings.Repeat("{% endfor %}", 4), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			s := demo
			s.Own = tc.own
			_, err := Build(FormTemplate, s)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// Whatever is in a template, it ends, and gives a document or a reason.
func FuzzTemplate(f *testing.F) {
	for _, own := range []string{"{{ rs_agent.client_id }}", "{% for p in rs_agent %}{{ p[1] }}{% endfor %}", "{% if rs_agent.x %}{% else %}rs_agent{% endif %}", "{{-}}{%-%}rs_agent", "{{rs_agent}}{%endfor"} {
		f.Add(own)
	}
	f.Fuzz(func(t *testing.T, own string) {
		s := demo
		s.Own = own
		doc, err := Build(FormTemplate, s)
		if err == nil && len(doc) > MaxSize {
			t.Fatalf("%d bytes", len(doc))
		}
		if err != nil && doc != "" {
			t.Fatal("both a document and an error")
		}
	})
}

func TestFurtherParts(t *testing.T) {
	s := demo
	s.ScriptURL, s.IncludeURL, s.HTTPProxy = "https://example.net/install.sh", "https://example.net/include", "10.0.0.1:3128"
	doc, err := Build(FormMime, s)
	require.NoError(t, err)
	parts := readParts(t, doc)
	require.Len(t, parts, 3)
	require.Equal(t, "text/x-shellscript", parts[1].kind)
	require.Contains(t, parts[1].body, "'https://example.net/install.sh'")
	require.Contains(t, parts[1].body, "http_proxy='http://10.0.0.1:3128'")
	require.Equal(t, mimePart{"text/x-include-url", parts[2].id, "https://example.net/include\n"}, parts[2])

	s.Package, s.PatchURL = "rightlink_1.deb", "https://example.net/patches"
	doc, err = Build(FormQuery, s)
	require.NoError(t, err)
	require.Contains(t, doc, "&RS_src=rightlink_1.deb&RS_patch_url=https://example.net/patches")
	s.ScriptURL, s.PatchURL = "https://example.net/'; reboot; '", "https://a/?x&y"
	_, err = Build(FormMime, s)
	require.ErrorContains(t, err, "script URL")
	require.ErrorContains(t, err, "patch URL")
}
