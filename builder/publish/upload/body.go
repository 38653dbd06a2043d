// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"errors"
	"io"
	"sync"
)

// body is the body of one try of one request. It owns the buffer that it was
// given, and gives it back as soon as all of it is on its way: while a request
// waits for its answer no block is in memory. A try that was given up may still
// be reading on the way to the network; then the buffer is not given back.
type body struct {
	pool *buffers
	size int64

	mu  sync.Mutex
	buf *[]byte // nil once it was given back
	at  int64
}

func newBody(pool *buffers, buf *[]byte) *body {
	return &body{pool: pool, size: int64(len(*buf)), buf: buf}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.buf == nil {
		return 0, errGone
	}
	n := copy(p, (*b.buf)[b.at:])
	b.advance(n)
	return n, nil
}

// WriteTo implements io.WriterTo: what is left goes out in one piece.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at >= b.size {
		return 0, nil
	}
	if b.buf == nil {
		return 0, errGone
	}
	n, err := w.Write((*b.buf)[b.at:])
	b.advance(n)
	return int64(n), err
}

// Seek implements io.Seeker: clients ask for the length with it.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of the block")
	}
	b.at = offset
	return offset, nil
}

// errGone says that somebody wants to send a body twice.
var errGone = errors.New("the block was sent already")

func (b *body) advance(n int) {
	b.at += int64(n)
	if b.at == b.size {
		b.pool.put(b.buf)
		b.buf = nil
	}
}

// buffersKept is how many buffers are kept for later; what was needed only for a
// moment is left to the garbage collector.
const buffersKept = 8

// buffers lends buffers and takes them back.
type buffers struct {
	size int64

	mu   sync.Mutex
	free []*[]byte
}

func (b *buffers) get() *[]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	buf := make([]byte, b.size)
	return &buf
}

func (b *buffers) put(buf *[]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) < buffersKept {
		b.free = append(b.free, buf)
	}
}
