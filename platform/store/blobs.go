// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// chunkSize bounds the memory that reading or writing an attachment takes.
const chunkSize = 1 << 20

// Blob is stored content, named by its SHA-256.
type Blob struct {
	Digest string
	Size   int64
}

// Blob returns what is known about a digest.
func (q *Queries) Blob(ctx context.Context, digest string) (b Blob, err error) {
	err = q.row(ctx, `SELECT digest, size FROM blobs WHERE digest = ?`, digest).Scan(&b.Digest, &b.Size)
	return b, one("attachment", digest, err)
}

// PutBlob stores content of exactly size bytes under its digest, which the
// caller has computed. It is a no-op when the digest is stored already.
func (q *Queries) PutBlob(ctx context.Context, b Blob, content io.Reader, now time.Time) error {
	n, err := q.exec(ctx, `INSERT INTO blobs (digest, size, created_at) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING`, b.Digest, b.Size, millis(now))
	if err != nil || n == 0 {
		return err
	}
	buf := make([]byte, chunkSize)
	var total int64
	for i := 0; ; i++ {
		n, err := io.ReadFull(content, buf)
		if n > 0 {
			if _, err := q.exec(ctx, `INSERT INTO blob_chunks (digest, n, content) VALUES (?, ?, ?)`, b.Digest, i, buf[:n]); err != nil {
				return err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != b.Size {
		return fmt.Errorf("attachment %s: got %d bytes, want %d; did the file change during the upload?", b.Digest, total, b.Size)
	}
	return nil
}

// DropUnusedBlobs removes content that no script refers to any more.
func (q *Queries) DropUnusedBlobs(ctx context.Context) error {
	_, err := q.exec(ctx, `DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM right_script_attachments)`)
	return err
}

// OpenBlob returns a reader over stored content that holds one chunk in memory.
// It is good for http.ServeContent, which seeks for ranges.
func (q *Queries) OpenBlob(ctx context.Context, b Blob) io.ReadSeeker {
	return &blobReader{ctx: ctx, q: q, blob: b, loaded: -1}
}

type blobReader struct {
	ctx    context.Context // of the one request that reads
	q      *Queries
	blob   Blob
	at     int64
	loaded int64 // number of the chunk in chunk, -1 for none
	chunk  []byte
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.at >= r.blob.Size {
		return 0, io.EOF
	}
	if n := r.at / chunkSize; n != r.loaded {
		if err := r.q.row(r.ctx, `SELECT content FROM blob_chunks WHERE digest = ? AND n = ?`, r.blob.Digest, n).Scan(&r.chunk); err != nil {
			return 0, one("attachment chunk", n, err)
		}
		r.loaded = n
	}
	off := r.at % chunkSize
	if off >= int64(len(r.chunk)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.chunk[off:])
	r.at += int64(n)
	return n, nil
}

func (r *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.blob.Size
	}
	if offset < 0 {
		return r.at, errors.New("seek before the start of the attachment")
	}
	r.at = offset
	return r.at, nil
}
