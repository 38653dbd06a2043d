// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"strconv"
	"sync"
)

// TopicEvents is what AddEvent speaks of: the text is the id of the instance
// that an event waits for.
const TopicEvents = "events"

// notice is a short message to whoever listens, in any replica.
type notice struct{ topic, text string }

// Notify tells all who listen to a topic, in this process and in other replicas,
// once the transaction is committed. It is a hint and no message: the text is
// short and may get lost, so that the truth lies in a table.
func (q *Queries) Notify(ctx context.Context, topic, text string) error {
	n := notice{topic, text}
	if err := q.db.dialect.notify(ctx, q, n); err != nil {
		return err
	}
	if q.said == nil {
		q.db.board.deliver(n)
	} else {
		*q.said = append(*q.said, n)
	}
	return nil
}

func (q *Queries) notifyID(ctx context.Context, topic string, id int64) error {
	return q.Notify(ctx, topic, strconv.FormatInt(id, 10))
}

// Listen calls heard for every notice of a topic until stop is called. An empty
// text means that notices may have been missed and the listener must look for
// itself: after a lost connection, all the time with a database that has no
// LISTEN, and with SQLite when another process has written. heard must not
// block.
func (db *DB) Listen(topic string, heard func(text string)) (stop func()) {
	db.board.start(func(ctx context.Context) { db.dialect.watch(ctx, db) })
	return db.board.add(listener{topic, heard})
}

type listener struct {
	topic string
	heard func(text string)
}

// board knows the listeners of this process.
type board struct {
	mu        sync.Mutex
	last      int
	listeners map[int]listener
	stop      context.CancelFunc // nil before the first listener
	stopped   bool
	watcher   sync.WaitGroup
}

// start runs watch in the background, once.
func (b *board) start(watch func(context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil || b.stopped {
		return
	}
	ctx, stop := context.WithCancel(context.Background()) // it ends with the database
	b.stop = stop
	b.watcher.Go(func() { watch(ctx) })
}

func (b *board) close() {
	b.mu.Lock()
	b.stopped = true
	if b.stop != nil {
		b.stop()
	}
	b.mu.Unlock()
	b.watcher.Wait()
}

func (b *board) add(l listener) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[int]listener{}
	}
	b.last++
	id := b.last
	b.listeners[id] = l
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, id)
	}
}

// deliver calls the listeners of a notice's topic.
func (b *board) deliver(n notice) {
	for _, l := range b.all() {
		if l.topic == n.topic {
			l.heard(n.text)
		}
	}
}

// missed tells every listener to look for itself.
func (b *board) missed() {
	for _, l := range b.all() {
		l.heard("")
	}
}

func (b *board) all() []listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]listener, 0, len(b.listeners))
	for _, l := range b.listeners {
		list = append(list, l)
	}
	return list
}
