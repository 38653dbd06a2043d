// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/web/chromium"
)

// A person logs in, launches a server with the form, sees it become
// operational, runs an operational script on it and reads its output while it
// runs, terminates it, and logs out: with a real agent, and without one reload
// where the page promises to update.
func TestStory(t *testing.T) {
	chromium.Need(t)
	p := startPlatform(t)
	b := chromium.Open(t, p.base)
	b.Login(email, password)

	b.GoTo("/ui/servers")
	b.Press("New server")
	b.Sees("Show what it asks for")
	b.Fill("name", "web-1")
	b.Choose("template", "1")
	b.Sees("Instance type")
	b.Holds(`document.getElementById("name").value === "web-1"`)
	b.Click("main summary")
	b.Choose("enrolment", "legacy")
	b.Fill("value-SITE", "https://shop.example.net/site.tar")
	b.Press("Create and launch")
	b.Sees("The launch was started.")
	b.Mark()
	b.Holds(`document.querySelector(".state .badge").innerText === "operational"`)
	b.NotReloaded()
	b.Shot("server")

	gate := t.TempDir()
	b.Click(`//li[contains(., "Count slowly")]//a[contains(., "Run")]`)
	b.Sees("Directory in which files open the gate")
	b.Fill("value-GATE", gate)
	b.Press("Run")
	b.Sees("The script was queued.")
	b.Mark()
	log := `document.getElementById("log").textContent`
	b.Holds(log + `.includes("line 1 <b>not bold</b>")`)
	require.False(t, chromium.Ask[bool](b, log+`.includes("line 2")`), "the output comes while the script runs")
	b.Shot("live")
	for _, step := range []struct{ file, text string }{{"1", "line 2"}, {"2", "line 3"}, {"3", "counted"}} {
		require.NoError(t, os.WriteFile(filepath.Join(gate, step.file), nil, 0o600))
		b.Holds(log + `.includes("` + step.text + `")`)
	}
	b.Sees("Completed: Count slowly")
	b.NotReloaded()
	b.Holds(`document.getElementById("log").getAttribute("aria-live") === "polite"`)
	require.Equal(t, 1, chromium.Ask[int](b, log+`.split("line 1").length - 1`), "no line comes twice")
	b.Holds(`!document.getElementById("tail").hasAttribute("hx-get")`)

	b.Click(`#tail a`)
	b.Press("Terminate")
	b.Sees("Terminate the instance of web-1?")
	b.Press("Terminate")
	b.Sees("The instance was asked to terminate.")
	b.Mark()
	b.Holds(`document.querySelector(".state .badge").innerText === "inactive"`)
	b.Sees("Completed: Say goodbye")
	b.NotReloaded()

	b.Click(`//button[normalize-space(.)="Log out"]`)
	b.Sees("Log in")
	b.Quiet()
}

// Everything but the updates works without JavaScript.
func TestWithoutJavaScript(t *testing.T) {
	chromium.Need(t)
	p := startPlatform(t)
	b := chromium.Open(t, p.base)
	b.WithoutScripts()
	b.Login(email, password)
	b.GoTo("/ui/servers/new")
	b.Fill("name", "web-1")
	b.Choose("template", "1")
	b.Press("Show what it asks for")
	b.Sees("Instance type")
	b.Press("Create only")
	b.Sees("The server was created.")
	b.Click(`//li[contains(., "Rotate logs")]//a[contains(., "Run")]`)
	b.Press("Run")
	b.Sees("no running instance")
	b.GoTo("/ui/servers")
	b.Click(`input[name=server]`)
	b.Press("Run a script on the chosen servers")
	b.Sees("choose one")
	b.GoTo("/ui/audit")
	b.Sees("server created")
	b.GoTo("/ui/servers")
	b.Click(`th a`)
	b.Press("Delete")
	b.Sees("Delete web-1?")
	b.Press("Delete")
	b.Sees("The server was deleted.")
}
