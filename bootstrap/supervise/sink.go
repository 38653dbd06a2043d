// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"bytes"
	"errors"
	"io"
	"log/syslog"
	"os"
	"path/filepath"
	"sync"
)

// LogPath is the file below root that is written when there is no system log.
func LogPath(root string) string { return filepath.Join(root, "var/log/rightimage.log") }

// maxLog bounds the file; one older generation is kept beside it.
const maxLog = 1 << 20

// NewSink returns where a process without terminal writes its log: the system
// log, or the bounded file where there is none (another root never has one).
func NewSink(root, tag string) io.Writer {
	if filepath.Clean(root) == "/" {
		if w, err := syslog.New(syslog.LOG_INFO|syslog.LOG_USER, tag); err == nil {
			return &lines{w: w}
		}
	}
	return &lines{w: &boundedFile{path: LogPath(root), limit: maxLog}}
}

// lines passes on whole lines, one write each, as the system log wants them.
type lines struct {
	w    io.Writer
	mu   sync.Mutex
	rest []byte
}

// maxLine is where an endless line is cut.
const maxLine = 8 << 10

// Write never fails: a log that cannot be written must not stop the work.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = len(l.rest) - 1
		}
		_, _ = l.w.Write(append(bytes.TrimRight(l.rest[:i+1:i+1], "\n"), '\n'))
		l.rest = append([]byte(nil), l.rest[i+1:]...)
	}
}

// boundedFile is opened anew for each line: that is slow, rare, and follows
// whatever else moves the file.
type boundedFile struct {
	path  string
	limit int64
}

func (b *boundedFile) Write(p []byte) (n int, err error) {
	if info, err := os.Stat(b.path); err == nil && info.Size()+int64(len(p)) > b.limit {
		_ = os.Rename(b.path, b.path+".1")
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = f.Write(p)
	return n, errors.Join(err, f.Close())
}
