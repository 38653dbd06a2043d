// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is how long the browser may take for anything.
const patience = 60 * time.Second

// browser is a Chromium with one tab, and what it complained about.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string
}

// chromium finds the browser.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(name); name != "" && err == nil {
			return name
		}
	}
	t.Skip("chromium is missing (Debian: chromium; make test-deps)")
	return ""
}

func open(t *testing.T, base string) *browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.Flag("lang", "en-GB"))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(alloc)
	b := &browser{t: t, ctx: ctx, base: base}
	var listening sync.WaitGroup
	t.Cleanup(func() { stop(); stopAlloc(); listening.Wait() })
	// The browser lives as long as the context of its first action.
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)))
	messages := chromedp.Console(ctx)
	listening.Go(func() { b.listen(messages) })
	return b
}

// listen notes what a person would find in the browser's console: exceptions,
// errors, and what the content security policy has stopped.
func (b *browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return // the browser ends
		}
		if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.Type == chromedp.ConsoleException {
			b.mu.Lock()
			b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", m.Type, m.Text, m.URL))
			b.mu.Unlock()
		}
	}
}

// quiet fails the test if the browser has complained.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.complaints)
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.shot("failure")
		b.t.Fatalf("%v; the page says: %.600s; complaints: %v", err, b.text(), b.complaints)
	}
}

// ask evaluates an expression on the page.
func ask[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

func (b *browser) goTo(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// text is what can be read on the page.
func (b *browser) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// sees waits until a text is on the page.
func (b *browser) sees(text string) {
	b.t.Helper()
	b.holds(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// holds waits until an expression is true.
func (b *browser) holds(expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		// A page that is just being left answers nothing.
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			b.shot("failure")
			b.t.Fatalf("never: %s (%v); the page says: %.1500s", expression, err, b.text())
		}
	}
}

// click clicks what an XPath or a CSS selector finds.
func (b *browser) click(selector string) {
	b.t.Helper()
	if strings.HasPrefix(selector, "//") {
		b.do(chromedp.Click(chromedp.Search(selector)))
		return
	}
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// press clicks the button or link of a name, as a person finds it.
func (b *browser) press(name string) {
	b.t.Helper()
	b.click(fmt.Sprintf(`//main//*[self::a or self::button][normalize-space(.)=%q]`, name))
}

// fill types into a field.
func (b *browser) fill(id, text string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS("#"+id), text))
}

// choose picks an option.
func (b *browser) choose(id, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS("#"+id), value))
}

// mark leaves something behind that a reload would wipe out.
func (b *browser) mark() { ask[bool](b, `window.untouched = true`) }

func (b *browser) notReloaded() {
	b.t.Helper()
	require.True(b.t, ask[bool](b, `window.untouched === true`), "the page was loaded again")
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// call sends a command of the protocol that has no action.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, command, params)
	require.NoError(b.t, err)
}

func (b *browser) scheme(name string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

func (b *browser) withoutScripts() {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// shot takes a picture when somebody wants to look at them.
func (b *browser) shot(name string) {
	dir := os.Getenv("DASHBOARD_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(strings.Trim(name, "/"), "/", "_")+".png"), png, 0o600)
	}
}
