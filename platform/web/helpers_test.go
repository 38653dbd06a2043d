// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

func secretOf(plain string) secret.String { return secret.String(plain) }

func inputs(t testing.TB, list ...string) map[string]rightscript.Value {
	t.Helper()
	values := map[string]rightscript.Value{}
	for _, one := range list {
		name, text, _ := strings.Cut(one, "=")
		v, err := rightscript.ParseValue(text)
		require.NoError(t, err)
		values[name] = v
	}
	return values
}

// secondAccount makes another account.
func (w *world) secondAccount() int64 {
	w.t.Helper()
	_, err := w.fleet.DB.Pool().Exec(`INSERT INTO accounts (id, name, created_at) VALUES (2, 'other', 0)`)
	require.NoError(w.t, err)
	return 2
}

// faults lists what keeps people who do not see the page, or do not use a
// mouse, from using it. Colours are for the browser's test.
func faults(root *html.Node) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	ids := map[string]*html.Node{}
	labelled := map[string]bool{}
	for _, n := range all(root, "*") {
		if id := attr(n, "id"); has(n, "id") {
			if ids[id] != nil || id == "" {
				say("id %q is there twice, or empty", id)
			}
			ids[id] = n
		}
		if n.Data == "label" {
			labelled[attr(n, "for")] = true
		}
		if has(n, "style") || n.Data == "style" || n.Data == "script" && attr(n, "src") == "" {
			say("<%s> is inline style or script", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") || strings.Contains(a.Val, "ZgotmplZ") {
				say("<%s> has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, n := range all(root, "*") {
		for _, key := range []string{"for", "aria-labelledby", "aria-describedby", "list"} {
			if has(n, key) && ids[attr(n, key)] == nil {
				say("<%s %s=%q> leads nowhere", n.Data, key, attr(n, key))
			}
		}
		switch n.Data {
		case "input", "select", "textarea":
			if attr(n, "type") != "hidden" && !labelled[attr(n, "id")] && attr(n, "aria-label") == "" {
				say("<%s name=%q> has no label", n.Data, attr(n, "name"))
			}
		case "a", "button", "summary", "legend", "label", "th", "caption", "h1", "h2", "h3":
			if textOf(n) == "" && attr(n, "aria-label") == "" {
				say("<%s %s> has no text", n.Data, attr(n, "href"))
			}
		case "img":
			if !has(n, "alt") {
				say("<img> has no alt")
			}
		case "table":
			if len(all(n, "caption")) != 1 {
				say("a table has no caption")
			}
		case "pre":
			if attr(n, "tabindex") != "0" || attr(n, "aria-label") == "" {
				say("<pre> cannot be scrolled with the keyboard")
			}
		case "form":
			if strings.EqualFold(attr(n, "method"), "post") && attr(n, "action") != Base+"/login" && !slices.ContainsFunc(all(n, "input"), func(i *html.Node) bool { return attr(i, "name") == "csrf" && attr(i, "value") != "" }) {
				say("the form to %s has no token", attr(n, "action"))
			}
		}
	}
	return append(list, structureFaults(root)...)
}

func structureFaults(root *html.Node) (list []string) {
	last, first := 0, 0
	for _, n := range all(root, "*") {
		if len(n.Data) != 2 || n.Data[0] != 'h' || n.Data[1] < '1' || n.Data[1] > '6' {
			continue
		}
		level, _ := strconv.Atoi(n.Data[1:])
		if level == 1 {
			first++
		}
		if level > last+1 {
			list = append(list, fmt.Sprintf("<h%d> follows <h%d>", level, last))
		}
		last = level
	}
	if first != 1 {
		list = append(list, fmt.Sprintf("%d <h1>", first))
	}
	names := map[string]bool{}
	for _, n := range all(root, "nav") {
		if attr(n, "aria-label") == "" || names[attr(n, "aria-label")] {
			list = append(list, "a <nav> has no name of its own")
		}
		names[attr(n, "aria-label")] = true
	}
	top := all(root, "html")
	if len(all(root, "main")) != 1 || len(top) != 1 || attr(top[0], "lang") == "" || len(all(root, "title")) == 0 {
		list = append(list, "the page lacks main, lang or title")
	}
	if !slices.ContainsFunc(all(root, "meta"), func(n *html.Node) bool { return attr(n, "name") == "viewport" }) {
		list = append(list, "no viewport")
	}
	return list
}
