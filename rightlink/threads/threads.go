// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package threads runs work on named threads: one piece at a time on each, in
// the order in which it came, and threads beside each other.
package threads

import (
	"fmt"
	"regexp"
	"sync"
)

// Limits of the queues.
const (
	MaxThreads = 32
	MaxQueued  = 100
)

// Default is the thread of work that names none.
const Default = "default"

// form is the original's rule for names.
var form = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Threads is ready for use.
type Threads struct {
	mu     sync.Mutex
	queues map[string][]func()
	done   sync.WaitGroup
}

// Add queues work. A thread that does not exist begins, and it ends when its
// queue is empty.
func (t *Threads) Add(name string, work func()) error {
	if name == "" {
		name = Default
	}
	if !form.MatchString(name) {
		return fmt.Errorf("thread %q: want a lower-case letter, then lower-case letters, digits and _", name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	queue, running := t.queues[name]
	switch {
	case len(queue) >= MaxQueued:
		return fmt.Errorf("thread %q: %d scripts wait already", name, MaxQueued)
	case !running && len(t.queues) >= MaxThreads:
		return fmt.Errorf("thread %q: %d threads run already", name, MaxThreads)
	case t.queues == nil:
		t.queues = map[string][]func(){}
	}
	t.queues[name] = append(queue, work)
	if !running {
		t.done.Add(1)
		go t.run(name)
	}
	return nil
}

func (t *Threads) run(name string) {
	defer t.done.Done()
	for {
		t.mu.Lock()
		queue := t.queues[name]
		if len(queue) == 0 {
			delete(t.queues, name)
			t.mu.Unlock()
			return
		}
		t.queues[name] = queue[1:]
		t.mu.Unlock()
		queue[0]()
	}
}

// Wait waits until all queues are empty.
func (t *Threads) Wait() { t.done.Wait() }
