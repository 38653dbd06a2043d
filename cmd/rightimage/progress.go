// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"

	blocks "github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
)

// progress tells a person what a command does: in lines, and on a terminal with
// a last line that changes.
type progress struct {
	w     io.Writer
	width func() int // of the terminal; 0 when there is none

	mu   sync.Mutex
	now  map[string]blocks.Progress // by region
	line bool                       // the last line is one that changes
}

// usualWidth is that of terminals that do not tell.
const usualWidth = 80

func newProgress(w io.Writer) *progress {
	width := func() int { return 0 }
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		width = func() int {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
				return n
			}
			return usualWidth
		}
	}
	return &progress{w: w, width: width, now: map[string]blocks.Progress{}}
}

// Say implements publish.Reporter.
func (p *progress) Say(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.w, message)
}

// Live reports whether there is a line that changes.
func (p *progress) Live() bool { return p.width() > 0 }

// Progress implements publish.Live.
func (p *progress) Progress(region string, now blocks.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[region] = now
	text := p.text()
	if n := p.width() - 1; n > 0 {
		if r := []rune(text); len(r) > n {
			text = string(r[:n-1]) + "…"
		}
		fmt.Fprint(p.w, "\r\x1b[K"+text)
		p.line = true
	}
	if now.Done == now.Total {
		p.clear()
		fmt.Fprintf(p.w, "%s: %s\n", region, now)
		delete(p.now, region)
	}
}

// Line shows a text in the line that changes, on a terminal only.
func (p *progress) Line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.width() - 1; n > 0 {
		if r := []rune(text); len(r) > n {
			text = string(r[:n-1]) + "…"
		}
		fmt.Fprint(p.w, "\r\x1b[K"+text)
		p.line = true
	}
}

// text is the line: one region in full, of several the shortest that tells.
func (p *progress) text() string {
	var parts []string
	for _, region := range slices.Sorted(maps.Keys(p.now)) {
		s := p.now[region]
		if len(p.now) == 1 {
			return region + ": " + s.String()
		}
		parts = append(parts, fmt.Sprintf("%s %d%% %s/s", region, 100*s.Done/max(s.Total, 1), blocks.Size(s.Rate)))
	}
	return strings.Join(parts, "  ")
}

// Close ends the line that changes.
func (p *progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.line {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.line = false
	}
}
