// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fetch

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// guard watches a body: when it stays below stallBytes for the stall time, it
// is closed and reads fail with ErrStalled.
type guard struct {
	body  io.ReadCloser
	limit time.Duration
	done  chan struct{}

	mu      sync.Mutex
	got     int64
	stalled bool
	once    sync.Once
}

func newGuard(body io.ReadCloser, limit time.Duration) *guard {
	g := &guard{body: body, limit: limit, done: make(chan struct{})}
	go g.watch()
	return g
}

func (g *guard) watch() {
	t := time.NewTicker(g.limit)
	defer t.Stop()
	for last := int64(0); ; {
		select {
		case <-g.done:
			return
		case <-t.C:
		}
		g.mu.Lock()
		g.stalled = g.got-last < stallBytes
		last = g.got
		stalled := g.stalled
		g.mu.Unlock()
		if stalled {
			_ = g.body.Close()
			return
		}
	}
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got += int64(n)
	if err != nil && err != io.EOF && g.stalled { //nolint:errorlint // io.EOF is never wrapped by a body
		err = fmt.Errorf("%w: under %d bytes in %s", ErrStalled, stallBytes, g.limit)
	}
	return n, err
}

// Close implements io.Closer.
func (g *guard) Close() error {
	g.once.Do(func() { close(g.done) })
	return g.body.Close()
}
