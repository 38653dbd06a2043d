// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

func TestParseForm(t *testing.T) {
	for body, want := range map[string]string{
		"":                                 `{}`,
		"a=1&b=x+y%26":                     `{"a":"1","b":"x y&"}`,
		"a[b]=1&a[c][d]=2":                 `{"a":{"b":"1","c":{"d":"2"}}}`,
		"a%5Bb%5D=1":                       `{"a":{"b":"1"}}`,
		"a[]=1&a[]=2":                      `{"a":["1","2"]}`,
		"a[][n]=1&a[][v]=x&a[][n]=2":       `{"a":[{"n":"1","v":"x"},{"n":"2"}]}`,
		"a[][n][x]=1&a[][n][y]=2&a[][z]=3": `{"a":[{"n":{"x":"1","y":"2"},"z":"3"}]}`,
		"a[b][]=1&a[b][]=2":                `{"a":{"b":["1","2"]}}`,
		"a=1&a=2":                          `{"a":"2"}`,
		"a":                                `{"a":""}`,
		"&&a=1&":                           `{"a":"1"}`,
	} {
		got, err := parseForm(body)
		require.NoError(t, err, body)
		raw, err := json.Marshal(got)
		require.NoError(t, err)
		require.JSONEq(t, want, string(raw), body)
	}
	for _, body := range []string{"a=1&a[b]=2", "a[b]=1&a[]=2", "a[]=1&a[b]=2", "a[b=1", "a[b]c=1", "[b]=1", "=1", "a%zz=1", "a=%zz", "a[[b]]=1",
		"a" + strings.Repeat("[b]", maxFormDepth) + "=1", strings.Repeat("a=1&", maxFormFields+1)} {
		_, err := parseForm(body)
		var wrong *parameterError
		require.ErrorAs(t, err, &wrong, "%.40s", body)
	}
}

func request(t *testing.T, method, target, contentType, body string) (*params, error) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return readParams(r)
}

func TestParams(t *testing.T) {
	p, err := request(t, http.MethodGet, "/x?view=full&filter[]=name%3D%3Da&filter%5B%5D=state%3C%3Eb&limit=3", "application/json", `{"limit":"10","flag":"true","n":4,"nothing":null}`)
	require.NoError(t, err)
	require.Equal(t, "full", p.text("view"))
	require.Equal(t, []string{"name==a", "state<>b"}, p.texts("filter"))
	require.EqualValues(t, 10, p.number("limit"), "the body counts first")
	require.EqualValues(t, 4, p.number("n"))
	require.True(t, p.flag("flag"))
	require.Nil(t, p.opt("nothing"))
	require.Nil(t, p.sub("absent").opt("x"))
	require.NoError(t, p.problem())

	both := []string{`{"server":{"instance":{"inputs":{"A":"text:1","B":"inherit"},"cloud_href":"/api/clouds/7","image_href":"/api/clouds/7/images/X"}}}`,
		"server[instance][inputs][A]=text:1&server[instance][inputs][B]=&server[instance][cloud_href]=/api/clouds/7&server[instance][image_href]=/api/clouds/7/images/X",
		"server[instance][inputs][][name]=A&server[instance][inputs][][value]=text:1&server[instance][inputs][][name]=B&server[instance][inputs][][value]=inherit&server[instance][cloud_href]=/api/clouds/7&server[instance][image_href]=/api/clouds/7/images/X"}
	for i, body := range both {
		kind := "application/x-www-form-urlencoded"
		if i == 0 {
			kind = "application/json"
		}
		p, err := request(t, http.MethodPost, "/x", kind, body)
		require.NoError(t, err)
		inst := p.sub("server").sub("instance")
		require.Equal(t, map[string]rightscript.Value{"A": {Kind: rightscript.KindText, Text: "1"}, "B": {Kind: rightscript.KindInherit}}, inst.inputs("inputs"))
		require.EqualValues(t, 7, inst.href("cloud_href", "clouds"))
		cloud, uid := inst.cloudHref("image_href", "images")
		require.EqualValues(t, 7, cloud)
		require.Equal(t, "X", uid)
		require.NoError(t, p.problem())
	}
}

func TestWrongParams(t *testing.T) {
	for body, want := range map[string]struct {
		read func(*params)
		text string
	}{
		`{"a":[1]}`:                 {func(p *params) { p.text("a") }, "a: want text"},
		`{"a":"x"}`:                 {func(p *params) { p.sub("a") }, "a: want an object"},
		`{"a":{"b":{}}}`:            {func(p *params) { p.sub("a").need("b") }, "a[b]: want text"},
		`{"a":{}}`:                  {func(p *params) { p.sub("a").need("b") }, "a[b] is missing"},
		`{"n":"x"}`:                 {func(p *params) { p.number("n") }, "n: want a whole number"},
		`{"f":"maybe"}`:             {func(p *params) { p.flag("f") }, "f: want true or false"},
		`{"l":[[]]}`:                {func(p *params) { p.texts("l") }, "l: want a list of texts"},
		`{"l":{}}`:                  {func(p *params) { p.texts("l") }, "l: want a list of texts"},
		`{"o":["x"]}`:               {func(p *params) { p.objects("o") }, "o: want a list of objects"},
		`{"o":"x"}`:                 {func(p *params) { p.objects("o") }, "o: want a list of objects"},
		`{"h":"/api/clouds/x"}`:     {func(p *params) { p.href("h", "clouds") }, "h: want an href such as /api/clouds/1"},
		`{"h":"/api/servers/1"}`:    {func(p *params) { p.href("h", "clouds") }, "want an href"},
		`{"h":"/api/clouds/1/x/y"}`: {func(p *params) { p.cloudHref("h", "images") }, "want an href such as /api/clouds/1/images"},
		`{"i":{"A":"nonsense"}}`:    {func(p *params) { p.inputs("i") }, "i[A]: "},
		`{"i":{"RS_X":"text:1"}}`:   {func(p *params) { p.inputs("i") }, "reserved"},
		`{"i":{"A":{"b":1}}}`:       {func(p *params) { p.inputs("i") }, "i[A]: want text"},
		`{"d":"yesterday"}`:         {func(p *params) { p.date("d") }, "d: want a time"},
	} {
		p, err := request(t, http.MethodPost, "/x", "application/json", body)
		require.NoError(t, err, body)
		want.read(p)
		require.ErrorContains(t, p.problem(), want.text, body)
	}
	for body, text := range map[string]string{`[1]`: "wrong type", `{"a":`: "cannot be read", `{} {}`: "more than one", `"x"`: "wrong type", `{"a":1}x`: "more than one"} {
		_, err := request(t, http.MethodPost, "/x", "application/json", body)
		require.ErrorContains(t, err, text, body)
	}
	_, err := request(t, http.MethodPost, "/x", "multipart/form-data; boundary=x", "--x--")
	require.ErrorContains(t, err, "attachments")
}

// Whatever a body holds, it is read or refused as a parameter error.
func FuzzParams(f *testing.F) {
	for _, seed := range []struct{ kind, body string }{
		{"application/json", `{"server":{"name":"x","instance":{"inputs":{"A":"text:x"}}},"tags":["a"],"runnable_bindings":[{"id":"1"}]}`},
		{"application/x-www-form-urlencoded", "inputs[][name]=A&inputs[][value]=text:x&a[b][c]=1&tags[]=x"},
		{"application/x-www-form-urlencoded", "a[]=1&a[b]=2&[=x&a[[]]=%"},
		{"", `{"a":[[[[{}]]]]}`},
	} {
		f.Add(seed.kind, seed.body)
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		p, err := readParams(r)
		if err != nil {
			var wrong *parameterError
			require.ErrorAs(t, err, &wrong)
			return
		}
		for _, field := range []string{"server", "a", "inputs", "tags", "runnable_bindings"} {
			_, _, _ = p.opt(field), p.texts(field), p.number(field)
			_, _, _ = p.flag(field), p.href(field, "clouds"), p.inputs(field)
			for _, o := range p.objects(field) {
				_ = o.text("id")
			}
			_ = p.sub(field).sub("instance").inputs("inputs")
			_, _ = p.cloudHref(field, "images")
		}
		if err := p.problem(); err != nil {
			var wrong *parameterError
			require.ErrorAs(t, err, &wrong)
		}
	})
}
