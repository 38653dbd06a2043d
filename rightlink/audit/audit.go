// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package audit streams text to an audit entry of the platform. Text is
// buffered and sent in parts; a part whose answer got lost is sent again with
// the same offset, so that it is never doubled and never missing.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Sink is where entries go; *session.Session is one.
type Sink interface {
	CreateAudit(ctx context.Context, e wire.AuditEntry) (int64, error)
	AppendAudit(ctx context.Context, id int64, a wire.AuditAppend) error
}

// Limits of the buffer.
const (
	FlushSize  = 5 << 10
	FlushEvery = 2 * time.Second
	// maxPart is the most text in one call, maxPending the most that is kept
	// while the platform is away.
	maxPart    = 256 << 10
	maxPending = 4 << 20
	// restAfterError is the pause after a call that failed with all its
	// repetitions.
	restAfterError = 10 * time.Second
)

// Options describe an entry.
type Options struct {
	Sink Sink
	// ID is an entry that the platform has made already; with 0 one is
	// created for the resource AuditeeHref when there is something to send.
	ID          int64
	AuditeeHref string
	// Summary is the entry's first summary, if it is created here.
	Summary string
	Log     *slog.Logger
	// FlushEvery is 0 for the default.
	FlushEvery time.Duration
}

// Log is one audit entry. It is safe for use by several goroutines.
type Log struct {
	opt    Options
	kick   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	sending sync.Mutex // one call at a time; guards id, offset and part
	id      int64
	offset  int64
	part    part // sent, but not known to have arrived

	mu      sync.Mutex
	summary string // the newest, not sent yet
	pending []byte
	inLine  bool // the text does not end with a newline
	dropped int
}

// part is what one append carries.
type part struct{ summary, detail string }

func (p part) empty() bool { return p.summary == "" && p.detail == "" }

// New starts an entry. Close ends it.
func New(ctx context.Context, opt Options) *Log {
	if opt.FlushEvery == 0 {
		opt.FlushEvery = FlushEvery
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Log{opt: opt, id: opt.ID, kick: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go l.loop(ctx)
	return l
}

// Section begins a section; its title becomes the entry's summary.
func (l *Log) Section(title string) { l.add(title, Section(title), true) }

// Status sets the summary and writes it as a line too.
func (l *Log) Status(text string) { l.add(text, Info(text), true) }

// Info writes a line of the agent.
func (l *Log) Info(text string) { l.add("", Info(text), true) }

// Error writes an error line of the agent.
func (l *Log) Error(text string) { l.add("", Error(text), true) }

// Output writes the output of a script as it is.
func (l *Log) Output(text string) { l.add("", text, false) }

// add buffers text; a line of the agent begins at the start of a line.
func (l *Log) add(summary, detail string, line bool) {
	detail = strings.ToValidUTF8(detail, "\uFFFD") // bytes count, and JSON has no others
	l.mu.Lock()
	defer l.mu.Unlock()
	if line && l.inLine {
		detail = "\n" + detail
	}
	if detail != "" {
		l.inLine = !strings.HasSuffix(detail, "\n")
	}
	if summary != "" {
		l.summary = Summary(summary, wire.MaxSummary)
	}
	if len(l.pending)+len(detail) > maxPending {
		l.dropped += len(detail)
		return
	}
	l.pending = append(l.pending, detail...)
	if len(l.pending) >= FlushSize {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

func (l *Log) loop(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(l.opt.FlushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.kick:
		}
		if err := l.Flush(ctx); err != nil && ctx.Err() == nil {
			l.opt.Log.Warn("sending audit text; it is kept and sent later", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(restAfterError):
			}
		}
	}
}

// Flush sends all that is buffered.
func (l *Log) Flush(ctx context.Context) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	for {
		if l.part.empty() {
			l.part = l.take()
		}
		if l.part.empty() {
			return nil
		}
		if err := l.send(ctx); err != nil {
			return err
		}
		l.offset += int64(len(l.part.detail))
		l.part = part{}
	}
}

// take cuts the next part off the buffer.
func (l *Log) take() part {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := part{summary: l.summary}
	l.summary = ""
	if len(l.pending) > maxPart {
		cut := maxPart
		for !utf8.RuneStart(l.pending[cut]) { // not within a character
			cut--
		}
		p.detail = string(l.pending[:cut])
		l.pending = l.pending[cut:]
		return p
	}
	p.detail = string(l.pending)
	l.pending = nil
	if l.dropped > 0 {
		p.detail += Error(fmt.Sprintf("%d bytes of output are missing here: the platform was away for too long", l.dropped))
		l.dropped = 0
	}
	return p
}

func (l *Log) send(ctx context.Context) error {
	if l.id == 0 {
		id, err := l.opt.Sink.CreateAudit(ctx, wire.AuditEntry{Entry: wire.AuditEntryFields{
			AuditeeHref: l.opt.AuditeeHref, Summary: Summary(l.opt.Summary, wire.MaxSummary),
		}})
		if err != nil {
			return err
		}
		l.id = id
	}
	a := wire.AuditAppend{Summary: l.part.summary, Detail: l.part.detail, Offset: l.offset}
	if a.Summary != "" {
		a.Notify = "None"
	}
	return l.opt.Sink.AppendAudit(ctx, l.id, a)
}

// Close sends what is left and ends the entry; later text is lost.
func (l *Log) Close(ctx context.Context) error {
	l.cancel()
	<-l.done
	return l.Flush(ctx)
}
