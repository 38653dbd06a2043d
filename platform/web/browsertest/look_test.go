// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/web/chromium"
)

// lowContrast lists the texts on a page that are too faint for their ground:
// below 4.5, or below 3 for large ones (WCAG 2.2, 1.4.3). Colours go through a
// canvas, which knows every notation; grounds are laid over each other.
const lowContrast = `(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (node) => {
    const stack = [];
    for (let n = node; n; n = n.parentElement) stack.push(rgba(getComputedStyle(n).backgroundColor));
    return stack.reverse().reduce((under, top) => over(top, under), matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1]);
  };
  const found = new Set();
  const check = (node, color, text) => {
    const style = getComputedStyle(node), under = ground(node), a = light(over(rgba(color), under)), b = light(under);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) found.add(ratio.toFixed(2) + " <" + node.tagName.toLowerCase() + " class=" + node.className + "> " + text.slice(0, 40));
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const node = n.parentElement;
    if (n.data.trim() && node.checkVisibility()) check(node, getComputedStyle(node).color, n.data.trim());
  }
  for (const field of document.querySelectorAll("input:not([type=hidden]), textarea, select")) {
    if (!field.checkVisibility()) continue;
    check(field, getComputedStyle(field).color, field.value || "a field");
    if (field.placeholder) check(field, getComputedStyle(field, "::placeholder").color, field.placeholder);
  }
  return [...found];
})()`

// tooWide lists what sticks out of the screen.
const tooWide = `(() => {
  const wide = document.documentElement.clientWidth, out = [];
  if (document.documentElement.scrollWidth > wide) for (const n of document.body.querySelectorAll("*")) {
    const box = n.getBoundingClientRect();
    if (box.right > wide + .5 && !n.closest(".sr, pre")) out.push(n.tagName + "." + n.className + " " + Math.round(box.right));
  }
  for (const table of document.querySelectorAll(".table > table")) if (table.getBoundingClientRect().right > table.parentElement.getBoundingClientRect().right + 1) out.push("a table is cut off");
  return out.concat(document.documentElement.scrollWidth > wide && !out.length ? ["the page"] : []).slice(0, 5);
})()`

// tooSmall lists what is hard to hit with a finger: below 24 by 24 pixels
// (WCAG 2.2, 2.5.8); links in running text are excepted.
const tooSmall = `[...document.querySelectorAll("button, .button, input:not([type=hidden]), select, textarea, summary, nav a")].filter((n) => {
  const box = n.getBoundingClientRect();
  return n.checkVisibility() && (box.width < 16 || box.height < (n.type === "checkbox" ? 16 : 24));
}).map((n) => n.tagName + " " + (n.innerText || n.name))`

// pages are all kinds of pages.
func (p *platform) pages() []string {
	p.t.Helper()
	ctx := context.Background()
	servers, err := p.fleet.DB.Servers(ctx, fleet.DefaultAccount)
	require.NoError(p.t, err)
	raw, _, err := p.fleet.DB.InstancesPage(ctx, fleet.DefaultAccount, store.Page{Limit: 1}, store.OwnerNobody)
	require.NoError(p.t, err)
	at := "/ui/servers/1"
	require.EqualValues(p.t, 1, servers[0].ID)
	return []string{"/ui/", "/ui/servers", at, "/ui/servers/new?template=1", at + "/settings", at + "/lock", at + "/launch", at + "/inputs", at + "/user-data", at + "/terminate", "/ui/run?server=1&script=1", "/ui/instances", "/ui/instances/" + raw[0].UID,
		"/ui/templates", "/ui/templates/1", "/ui/scripts/1", "/ui/multi-cloud-images", "/ui/multi-cloud-images/1", "/ui/images?cloud=2", "/ui/deployments", "/ui/deployments/1", "/ui/arrays", "/ui/arrays/1", "/ui/clouds", "/ui/clouds/2", "/ui/audit", "/ui/audit/1", "/ui/credentials", "/ui/users", "/ui/users/1", "/ui/me", "/ui/nothing"}
}

// Every page can be read on a phone and on a desk, by day and by night, and
// used with a finger and with the keyboard.
func TestLook(t *testing.T) {
	chromium.Need(t)
	p := startPlatform(t)
	b := chromium.Open(t, p.base)
	look(t, b, "login", "/ui/login")
	b.Login("admin@example.net", password)
	p.fill()
	p.launchOne()
	for _, path := range p.pages() {
		look(t, b, path, path)
	}
	b.Size(360, 740)
	b.GoTo("/ui/servers")
	b.Click("summary")
	b.Holds(`document.querySelector(".menu nav a").checkVisibility()`)
	b.Shot("menu")
	require.Empty(t, chromium.Ask[[]string](b, tooWide))
	require.Empty(t, chromium.Ask[[]string](b, lowContrast))
	for _, text := range b.Complaints() {
		require.Contains(t, text, "404", "the one page that does not exist")
	}
}

// measure is all of this at once.
const measure = "({Wide: " + tooWide + ", Faint: " + lowContrast + ", Small: " + tooSmall + "})"

type measured struct{ Wide, Faint, Small []string }

// look measures one page on each screen, by day and by night.
func look(t *testing.T, b *chromium.Browser, name, path string) {
	t.Helper()
	b.GoTo(path)
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"tablet", 768, 1024}, {"phone", 360, 740}, {"desk", 1280, 900}} {
		b.Size(screen.width, screen.height)
		for _, scheme := range []string{"dark", "light"} {
			b.Scheme(scheme)
			m := chromium.Ask[measured](b, measure)
			require.Empty(t, m.Wide, "%s on %s sticks out", path, screen.name)
			require.Empty(t, m.Faint, "%s by %s", path, scheme)
			require.Empty(t, m.Small, "%s on %s", path, screen.name)
			b.Shot(name + "-" + screen.name + "-" + scheme)
		}
	}
	tabThrough(t, b, path)
}

// tabThrough walks the page with the tab key: the first stop skips to the
// content, and every stop can be seen.
func tabThrough(t *testing.T, b *chromium.Browser, path string) {
	t.Helper()
	type focus struct{ Text, Outline string }
	chromium.Ask[bool](b, `document.activeElement.blur(), true`)
	for i := range 6 {
		b.Do(chromedp.KeyEvent(kb.Tab))
		stop := chromium.Ask[focus](b, `(() => { const n = document.activeElement; return {Text: n === document.body ? "BODY" : n.innerText || n.name || n.tagName, Outline: getComputedStyle(n).outlineStyle}; })()`)
		if stop.Text == "BODY" {
			return // the end of a short page
		}
		require.NotEqual(t, "none", stop.Outline, "%s: stop %d, %q, has no outline", path, i, stop.Text)
	}
}

// launchOne makes a server with an instance and some audit text.
func (p *platform) launchOne() {
	p.t.Helper()
	ctx := context.Background()
	_, err := p.cloud.Launch(ctx, 1, nil, "test")
	require.NoError(p.t, err)
	require.Eventually(p.t, func() bool {
		s, err := p.fleet.DB.Server(ctx, 1)
		return err == nil && s.State == "operational"
	}, chromium.Patience, 50*time.Millisecond)
	_, err = p.fleet.TagServer(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, p.name(1), []string{"app:role=web", "rs_monitoring:state=active"}, nil)
	require.NoError(p.t, err)
	_, err = p.fleet.RunScript(ctx, fleet.DefaultAccount, p.name(1), fleet.RunRequest{Script: "Rotate logs", By: email})
	require.NoError(p.t, err)
}

func (p *platform) name(id int64) string {
	s, err := p.fleet.DB.Server(context.Background(), id)
	require.NoError(p.t, err)
	return s.Name
}
