// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// Options say how an image is verified.
type Options struct {
	// Public is true for an image that everybody will be able to launch.
	Public bool
	// Users are login users that the image is meant to have, besides its own
	// default user.
	Users []string
	// Needles are secrets of the build, which must not be in the image.
	Needles []secrets.Needle
	// Waivers accept findings.
	Waivers []Waiver
	// Only names the checks to make; empty for all.
	Only []string
	// Ignore are patterns of paths that are not looked at: those of the build
	// itself.
	Ignore []string
	// Workers bounds how many files are read at a time. Default: one for each
	// processor.
	Workers int
	// Now is the day that waivers and support dates are compared with. Default:
	// today.
	Now time.Time
	// Progress is called now and then from one goroutine; nil for never.
	Progress func(Progress)
}

// Progress is how far the walk is.
type Progress struct {
	Files, Bytes int64
	Findings     int
}

// mostPerCheck bounds the findings of a check in a report: an image full of
// leftovers is told once.
const mostPerCheck = 40

// Run verifies the image that is mounted in a directory.
func Run(ctx context.Context, dir string, o Options) (*Report, error) {
	started := time.Now()
	t, err := tree.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // only read
	if o.Now.IsZero() {
		o.Now = started
	}
	checks, err := choose(Checks(), o.Only)
	if err != nil {
		return nil, err
	}
	e := &engine{ctx: ctx, o: o, checks: checks, im: newImage(t, o), workers: o.Workers, seen: map[[2]uint64]bool{}}
	if e.workers <= 0 {
		e.workers = runtime.GOMAXPROCS(0)
	}
	e.walk()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	for _, c := range e.checks {
		if c.whole != nil {
			c.whole(&probe{engine: e, Check: c, image: e.im})
		}
	}
	r := e.report(dir)
	r.Seconds = time.Since(started).Seconds()
	return r, ctx.Err()
}

func choose(all []*Check, only []string) ([]*Check, error) {
	if len(only) == 0 {
		return slices.DeleteFunc(all, func(c *Check) bool { return c.Class != Disk }), nil
	}
	var out []*Check
	for _, id := range only {
		i := slices.IndexFunc(all, func(c *Check) bool { return c.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("there is no check %q", id)
		}
		if all[i].Class == Disk {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// engine is one run.
type engine struct {
	ctx     context.Context // of this run
	o       Options
	checks  []*Check
	im      *image
	workers int

	files, bytes atomic.Int64

	mu      sync.Mutex
	found   []Finding
	skipped []Skipped
	cache   initramfsCache
	seen    map[[2]uint64]bool // files with several names that were read
}

// walk feeds every file to the rules that want it and to the scanner.
func (e *engine) walk() {
	m := newMatcher(e.checks, e.im.homes)
	byID := map[string]*Check{}
	for _, c := range e.checks {
		byID[c.ID] = c
	}
	set := secrets.Compile(e.o.Needles)
	scanners := make([]*secrets.Scanner, e.workers)
	for i := range scanners {
		scanners[i] = set.Scanner()
	}
	scans := byID[secrets.KeyCheck] != nil || byID[secrets.NeedleCheck] != nil || byID[secrets.AWSCheck] != nil ||
		byID[secrets.TokenCheck] != nil || byID[secrets.PlatformCheck] != nil
	stop := e.tell()
	defer stop()
	e.im.Walk(e.workers, func(worker int, entry *tree.Entry) bool {
		if e.ctx.Err() != nil {
			return false
		}
		for _, pattern := range e.o.Ignore {
			if matchPath(pattern, entry.Path) {
				return false
			}
		}
		e.files.Add(1)
		m.each(entry.Path, func(t target) { t.judge(&file{Entry: entry, probe: &probe{engine: e, Check: t.check, image: e.im}}) })
		if scans && entry.Regular() && entry.Size > 0 && e.first(entry) {
			e.scan(scanners[worker], entry, byID)
		}
		return true
	}, func(p string, err error) {
		e.skip("", p+" could not be read: "+reason(err))
	})
}

func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// tell reports the progress until the returned function is called.
func (e *engine) tell() func() {
	if e.o.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				e.mu.Lock()
				n := len(e.found)
				e.mu.Unlock()
				e.o.Progress(Progress{Files: e.files.Load(), Bytes: e.bytes.Load(), Findings: n})
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// first reports whether a file is met by its first name.
func (e *engine) first(entry *tree.Entry) bool {
	if entry.Links < 2 {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id := [2]uint64{entry.Dev, entry.Ino}
	if e.seen[id] {
		return false
	}
	e.seen[id] = true
	return true
}

// tokenLimit is the size up to which text is searched for tokens.
const tokenLimit = 4 << 20

// scan reads a file once and sorts what was found in it.
func (e *engine) scan(s *secrets.Scanner, entry *tree.Entry, byID map[string]*Check) {
	f, err := entry.Open()
	if err != nil {
		e.skip("", entry.Path+" could not be read: "+reason(err))
		return
	}
	defer f.Close() //nolint:errcheck // only read
	if c := byID["acc-setuid"]; c != nil && entry.Mode&0o111 != 0 && tree.HasCapabilities(f) {
		x := &file{Entry: entry, probe: &probe{engine: e, Check: c, image: e.im}}
		x.capable()
	}
	var hits []secrets.Hit
	err = s.Scan(f, func(h secrets.Hit) {
		if len(hits) < 64 {
			hits = append(hits, h)
		}
	})
	if err != nil {
		e.skip("", entry.Path+" could not be read: "+reason(err))
	}
	e.bytes.Add(entry.Size)
	if len(hits) == 0 {
		return
	}
	text := secrets.IsText(s.Head())
	told := map[string]bool{}
	for _, h := range hits {
		c := byID[h.Check]
		if c == nil || told[h.Check+string(h.Kind)] {
			continue
		}
		told[h.Check+string(h.Kind)] = true
		x := &file{Entry: entry, probe: &probe{engine: e, Check: c, image: e.im}}
		x.secret(h, text)
	}
}

// skip notes what could not be looked at.
func (e *engine) skip(check, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.skipped = append(e.skipped, Skipped{check, why})
}

func (e *engine) report(dir string) *Report {
	r := &Report{Target: dir, System: e.im.release["PRETTY_NAME"], Public: e.o.Public, Files: e.files.Load(), Bytes: e.bytes.Load(), Findings: []Finding{}}
	for _, c := range e.checks {
		r.Checks = append(r.Checks, c.ID)
	}
	r.Skipped = e.skipped
	slices.SortFunc(r.Skipped, func(a, b Skipped) int { return strings.Compare(a.Check+a.Why, b.Check+b.Why) })
	r.Findings = append(r.Findings, e.found...)
	r.Sort()
	r.Findings = slices.CompactFunc(r.Findings, func(a, b Finding) bool {
		return a.Check == b.Check && a.Path == b.Path && a.Evidence == b.Evidence && a.Line == b.Line
	})
	r.apply(e.o.Waivers, e.o.Now)
	r.shorten()
	return r
}

// shorten leaves the first findings of a check and counts the others.
func (r *Report) shorten() {
	count := map[string]int{}
	more := map[string]int{}
	kept := r.Findings[:0]
	for _, f := range r.Findings {
		key := f.Check + "\x00" + f.Severity.String() + "\x00" + f.Waived
		if count[key]++; count[key] > mostPerCheck {
			more[key]++
			continue
		}
		kept = append(kept, f)
	}
	r.Findings = kept
	for key, n := range more {
		parts := strings.Split(key, "\x00")
		var s Severity
		_ = s.UnmarshalText([]byte(parts[1])) // it was written above
		r.Findings = append(r.Findings, Finding{Check: parts[0], Severity: s, Waived: parts[2], Evidence: fmt.Sprintf("and %d more of this kind", n)})
	}
	r.Sort()
}

// below reports whether a path is in one of the directories.
func below(p string, dirs ...string) bool {
	for _, d := range dirs {
		if p == d || strings.HasPrefix(p, strings.TrimSuffix(d, "/")+"/") {
			return true
		}
	}
	return false
}
