// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"sync"
)

// Running lets a plugin whose Packer is gone end the build that is under way.
// The zero value is ready.
type Running struct {
	mu     sync.Mutex
	cancel context.CancelFunc // of the running build
	ended  chan struct{}      // closed when the running build has ended
}

// Begin makes a build known to Close; the returned function ends it.
func (r *Running) Begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	r.mu.Lock()
	r.cancel, r.ended = cancel, ended
	r.mu.Unlock()
	return ctx, func() { cancel(); close(ended) }
}

// Close cancels a running build and waits until it has undone what it made:
// nobody else would.
func (r *Running) Close() {
	r.mu.Lock()
	cancel, ended := r.cancel, r.ended
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}
