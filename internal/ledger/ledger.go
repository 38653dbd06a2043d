// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ledger remembers how to undo what a build has made. The line after a
// create call owes the undo; success forgives what became a product; failure
// and cancel settle the rest.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Back-off between the rounds of Settle, and the longest time one undo may take
// so that a service that hangs cannot keep the others from their turn.
const (
	firstPause  = 500 * time.Millisecond
	longPause   = 10 * time.Second
	perUndo     = 30 * time.Second
	lastTry     = time.Second // what the last round gets
	shareOfRest = 2           // one undo gets at most half of the time that is left
)

// Ledger is a list of debts. The zero value is ready for use, by several
// goroutines at once.
type Ledger struct {
	// Clock is the time to go by between rounds; nil means the real one.
	Clock wait.Clock

	mu    sync.Mutex
	debts []*Debt
}

// Debt is one thing that was made and how it is removed again.
type Debt struct {
	// What names the thing with its id, such as "snapshot snap-1 in us-east-1".
	What string
	// Remedy is the command with which a person removes it.
	Remedy string

	undo func(context.Context) error
	err  error
}

// Owe records that what exists and must be undone unless it is forgiven.
func (l *Ledger) Owe(what, remedy string, undo func(context.Context) error) *Debt {
	d := &Debt{What: what, Remedy: remedy, undo: undo}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.debts = append(l.debts, d)
	return d
}

// Forgive takes debts off the list: they became products, or were paid.
func (l *Ledger) Forgive(debts ...*Debt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.debts = slices.DeleteFunc(l.debts, func(d *Debt) bool { return slices.Contains(debts, d) })
}

// ForgiveAll empties the list: everything made is a product now.
func (l *Ledger) ForgiveAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.debts = nil
}

// Open returns the debts that are owed, oldest first.
func (l *Ledger) Open() []*Debt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.debts)
}

// Settle undoes every debt, newest first, and repeats what did not work until
// limit has passed. Its time is its own: a cancelled ctx does not stop it, and
// a service that never answers cannot hold it for ever. What is left then comes
// back as *LeftoverError.
func (l *Ledger) Settle(ctx context.Context, limit time.Duration) error {
	clock := l.clock()
	deadline := clock.Now().Add(limit)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for pause := firstPause; ; pause = min(pause*2, longPause) {
		again := l.round(ctx, clock, deadline)
		left := deadline.Sub(clock.Now())
		if !again || left <= lastTry || ctx.Err() != nil {
			break
		}
		// The last round is near the end of the time, not long before it.
		if err := clock.Sleep(ctx, min(jitter(pause), left-lastTry+time.Millisecond)); err != nil {
			break
		}
	}
	if left := l.Open(); len(left) > 0 {
		return &LeftoverError{Debts: left}
	}
	return nil
}

// round tries every open debt once, newest first, and reports whether trying
// again can help.
func (l *Ledger) round(ctx context.Context, clock wait.Clock, deadline time.Time) bool {
	again := false
	for _, d := range slices.Backward(l.Open()) {
		if IsPermanent(d.err) {
			continue
		}
		left := deadline.Sub(clock.Now())
		if left <= 0 && d.err != nil {
			return false
		}
		one, cancel := context.WithTimeout(ctx, min(perUndo, max(left/shareOfRest, time.Second)))
		d.err = d.undo(one)
		cancel()
		if d.err == nil {
			l.Forgive(d)
			continue
		}
		again = again || !IsPermanent(d.err)
	}
	return again
}

func (l *Ledger) clock() wait.Clock {
	if l.Clock != nil {
		return l.Clock
	}
	return wait.Real{}
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2) //nolint:gosec // spreads retries, hides nothing
}

// Permanent marks an undo error that no repetition can mend.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether an error was marked by Permanent.
func IsPermanent(err error) bool {
	var permanent *permanentError
	return errors.As(err, &permanent)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// LeftoverError lists what could not be removed, and how a person removes it.
type LeftoverError struct{ Debts []*Debt }

func (e *LeftoverError) Error() string {
	var b strings.Builder
	b.WriteString("left behind, remove by hand:")
	for _, d := range slices.Backward(e.Debts) {
		fmt.Fprintf(&b, "\n  %s", d.What)
		if d.err != nil {
			fmt.Fprintf(&b, " (%s)", oneLine(d.err.Error()))
		}
		if d.Remedy != "" {
			fmt.Fprintf(&b, "\n    %s", d.Remedy)
		}
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As the reason of every debt.
func (e *LeftoverError) Unwrap() []error {
	var reasons []error
	for _, d := range e.Debts {
		if d.err != nil {
			reasons = append(reasons, d.err)
		}
	}
	return reasons
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
