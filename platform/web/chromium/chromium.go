// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package chromium drives a Chromium without a screen, for tests of the
// dashboard: beside the package, and at the end of the chain.
package chromium

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// Patience is how long the browser may take for anything.
const Patience = 60 * time.Second

// Browser is a Chromium with one tab, and what it complained about.
type Browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string
}

// Path is where the browser is, empty if it is not installed.
func Path() string {
	for _, name := range []string{os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(name); name != "" && err == nil {
			return name
		}
	}
	return ""
}

// Need skips a test where there is no browser.
func Need(t *testing.T) {
	t.Helper()
	if Path() == "" {
		t.Skip("chromium is missing (Debian: chromium; make test-deps)")
	}
}

// Open starts the browser with one empty tab; paths of GoTo are below base. The
// end of the test ends it.
func Open(t *testing.T, base string) *Browser {
	t.Helper()
	Need(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(Path()), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.Flag("lang", "en-GB"))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(alloc)
	b := &Browser{t: t, ctx: ctx, base: base}
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
func (b *Browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
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

// Complaints are what the browser's console shows.
func (b *Browser) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.complaints)
}

// Quiet fails the test if the browser has complained.
func (b *Browser) Quiet() {
	b.t.Helper()
	require.Empty(b.t, b.Complaints())
}

// Do does steps of chromedp.
func (b *Browser) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Shot("failure")
		b.t.Fatalf("%v; the page says: %.600s; complaints: %v", err, b.Text(), b.Complaints())
	}
}

// Ask evaluates an expression on the page.
func Ask[T any](b *Browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// GoTo opens a page and waits for its heading.
func (b *Browser) GoTo(path string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(b.base+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// Text is what can be read on the page.
func (b *Browser) Text() string {
	ctx, cancel := context.WithTimeout(b.ctx, Patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// Sees waits until a text is on the page.
func (b *Browser) Sees(text string) {
	b.t.Helper()
	b.Holds(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// Holds waits until an expression is true.
func (b *Browser) Holds(expression string) {
	b.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		// A page that is just being left answers nothing.
		ctx, cancel := context.WithTimeout(b.ctx, Patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			b.Shot("failure")
			b.t.Fatalf("never: %s (%v); the page says: %.1500s", expression, err, b.Text())
		}
	}
}

// Click clicks what an XPath or a CSS selector finds.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	if strings.HasPrefix(selector, "//") {
		b.Do(chromedp.Click(chromedp.Search(selector)))
		return
	}
	b.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Press clicks the button or link of a name, as a person finds it.
func (b *Browser) Press(name string) {
	b.t.Helper()
	b.Click(fmt.Sprintf(`//main//*[self::a or self::button][normalize-space(.)=%q]`, name))
}

// Login uses the keyboard alone.
func (b *Browser) Login(email, password string) {
	b.t.Helper()
	b.GoTo("/")
	b.Holds(`document.activeElement.id === "email"`)
	b.Do(chromedp.KeyEvent(email), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(password), chromedp.KeyEvent(kb.Enter))
	b.Sees("Overview")
	b.Sees(email)
}

// Fill types into a field.
func (b *Browser) Fill(id, text string) {
	b.t.Helper()
	b.Do(chromedp.SendKeys(chromedp.CSS("#"+id), text))
}

// Choose picks an option.
func (b *Browser) Choose(id, value string) {
	b.t.Helper()
	b.Do(chromedp.SetValue(chromedp.CSS("#"+id), value))
}

// Mark leaves something behind that a reload would wipe out.
func (b *Browser) Mark() { Ask[bool](b, `window.untouched = true`) }

// NotReloaded fails the test if the page was loaded again since Mark.
func (b *Browser) NotReloaded() {
	b.t.Helper()
	require.True(b.t, Ask[bool](b, `window.untouched === true`), "the page was loaded again")
}

// Size makes the window as large as a screen.
func (b *Browser) Size(width, height int64) {
	b.t.Helper()
	b.Do(chromedp.EmulateViewport(width, height))
}

// call sends a command of the protocol that has no action.
func call[P, R any](b *Browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, Patience)
	defer cancel()
	_, err := chromedp.Call(ctx, command, params)
	require.NoError(b.t, err)
}

// Scheme prefers light or dark colours.
func (b *Browser) Scheme(name string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// WithoutScripts turns JavaScript off.
func (b *Browser) WithoutScripts() {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// Shot takes a picture when somebody wants to look at them.
func (b *Browser) Shot(name string) {
	dir := os.Getenv("DASHBOARD_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, Patience)
	defer cancel()
	if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(strings.Trim(name, "/"), "/", "_")+".png"), png, 0o600)
	}
}
