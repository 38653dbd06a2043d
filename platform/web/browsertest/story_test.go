// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// login uses the keyboard alone.
func (b *browser) login(mail string) {
	b.t.Helper()
	b.goTo("/")
	b.holds(`document.activeElement.id === "email"`)
	b.do(chromedp.KeyEvent(mail), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(password), chromedp.KeyEvent(kb.Enter))
	b.sees("Overview")
	b.sees(mail)
}

// A person logs in, launches a server with the form, sees it become
// operational, runs an operational script on it and reads its output while it
// runs, terminates it, and logs out: with a real agent, and without one reload
// where the page promises to update.
func TestStory(t *testing.T) {
	chromium(t)
	p := startPlatform(t)
	b := open(t, p.base)
	b.login(email)

	b.goTo("/ui/servers")
	b.press("New server")
	b.sees("Show what it asks for")
	b.fill("name", "web-1")
	b.choose("template", "1")
	b.sees("Instance type")
	b.holds(`document.getElementById("name").value === "web-1"`)
	b.click("main summary")
	b.choose("enrolment", "legacy")
	b.fill("value-SITE", "https://shop.example.net/site.tar")
	b.press("Create and launch")
	b.sees("The launch was started.")
	b.mark()
	b.holds(`document.querySelector(".state .badge").innerText === "operational"`)
	b.notReloaded()
	b.shot("server")

	gate := t.TempDir()
	b.click(`//li[contains(., "Count slowly")]//a[contains(., "Run")]`)
	b.sees("Directory in which files open the gate")
	b.fill("value-GATE", gate)
	b.press("Run")
	b.sees("The script was queued.")
	b.mark()
	log := `document.getElementById("log").textContent`
	b.holds(log + `.includes("line 1 <b>not bold</b>")`)
	require.False(t, ask[bool](b, log+`.includes("line 2")`), "the output comes while the script runs")
	b.shot("live")
	for _, step := range []struct{ file, text string }{{"1", "line 2"}, {"2", "line 3"}, {"3", "counted"}} {
		require.NoError(t, os.WriteFile(filepath.Join(gate, step.file), nil, 0o600))
		b.holds(log + `.includes("` + step.text + `")`)
	}
	b.sees("Completed: Count slowly")
	b.notReloaded()
	b.holds(`document.getElementById("log").getAttribute("aria-live") === "polite"`)
	require.Equal(t, 1, ask[int](b, log+`.split("line 1").length - 1`), "no line comes twice")
	b.holds(`!document.getElementById("tail").hasAttribute("hx-get")`)

	b.click(`#tail a`)
	b.press("Terminate")
	b.sees("Terminate the instance of web-1?")
	b.press("Terminate")
	b.sees("The instance was asked to terminate.")
	b.mark()
	b.holds(`document.querySelector(".state .badge").innerText === "inactive"`)
	b.sees("Completed: Say goodbye")
	b.notReloaded()

	b.click(`//button[normalize-space(.)="Log out"]`)
	b.sees("Log in")
	b.quiet()
}

// Everything but the updates works without JavaScript.
func TestWithoutJavaScript(t *testing.T) {
	chromium(t)
	p := startPlatform(t)
	b := open(t, p.base)
	b.withoutScripts()
	b.login(email)
	b.goTo("/ui/servers/new")
	b.fill("name", "web-1")
	b.choose("template", "1")
	b.press("Show what it asks for")
	b.sees("Instance type")
	b.press("Create only")
	b.sees("The server was created.")
	b.click(`//li[contains(., "Rotate logs")]//a[contains(., "Run")]`)
	b.press("Run")
	b.sees("no running instance")
	b.goTo("/ui/servers")
	b.click(`input[name=server]`)
	b.press("Run a script on the chosen servers")
	b.sees("choose one")
	b.goTo("/ui/audit")
	b.sees("server created")
	b.goTo("/ui/servers")
	b.click(`th a`)
	b.press("Delete")
	b.sees("Delete web-1?")
	b.press("Delete")
	b.sees("The server was deleted.")
}
