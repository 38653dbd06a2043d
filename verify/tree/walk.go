// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tree

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"
)

// Entry is one name in the tree.
type Entry struct {
	Path     string
	Mode     fs.FileMode
	Size     int64
	Modified time.Time
	Facts
	dir  *os.Root
	name string
}

// Facts are what the kernel tells of a file besides its mode and size.
type Facts struct {
	UID, GID uint32
	Links    uint64
	Dev, Ino uint64
	// Allocated is how many bytes the file takes on the disk.
	Allocated int64
}

// Open opens the entry, a regular file.
func (e *Entry) Open() (*os.File, error) { return openRegular(e.dir, e.name) }

// Regular reports whether the entry is a regular file.
func (e *Entry) Regular() bool { return e.Mode.IsRegular() }

// Visit is called for every entry, by several goroutines; worker says by which.
// A directory is entered when it returns true.
type Visit func(worker int, e *Entry) bool

// Walk visits every entry of the tree once, in no order, with so many workers.
// File systems of the kernel that are mounted in it (proc, sysfs, …) are not
// entered. Directories that cannot be read are told to failed.
func (t *Tree) Walk(workers int, visit Visit, failed func(p string, err error)) {
	w := &walk{t: t, visit: visit, failed: failed, todo: []string{"/"}}
	w.wake = sync.NewCond(&w.mu)
	if info, err := t.root.Stat("."); err == nil {
		w.dev = factsOf(info).Dev
	}
	var wg sync.WaitGroup
	for i := range max(workers, 1) {
		wg.Go(func() { w.work(i) })
	}
	wg.Wait()
}

type walk struct {
	t      *Tree
	visit  Visit
	failed func(string, error)
	dev    uint64

	mu   sync.Mutex
	wake *sync.Cond
	todo []string // a stack: it stays small
	busy int
}

func (w *walk) work(worker int) {
	for {
		dir, ok := w.next()
		if !ok {
			return
		}
		subs, err := w.directory(worker, dir)
		if err != nil {
			w.failed(dir, err)
		}
		w.mu.Lock()
		w.todo = append(w.todo, subs...)
		w.busy--
		w.mu.Unlock()
		w.wake.Broadcast()
	}
}

// next waits for a directory; there are no more when nobody is busy.
func (w *walk) next() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) == 0 {
		if w.busy == 0 {
			return "", false
		}
		w.wake.Wait()
	}
	last := len(w.todo) - 1
	dir := w.todo[last]
	w.todo = w.todo[:last]
	w.busy++
	return dir, true
}

func (w *walk) directory(worker int, dir string) (subs []string, err error) {
	root, err := w.t.root.OpenRoot(local(dir))
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // only read
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	if dir != "/" {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if factsOf(info).Dev != w.dev && virtual(f) {
			return nil, nil
		}
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	for _, name := range names {
		info, ierr := root.Lstat(name)
		if ierr != nil {
			continue // it went meanwhile
		}
		e := &Entry{Path: path.Join(dir, name), Mode: info.Mode(), Size: info.Size(), Modified: info.ModTime(), Facts: factsOf(info), dir: root, name: name}
		if w.visit(worker, e) && e.Mode.IsDir() {
			subs = append(subs, e.Path)
		}
	}
	return subs, err
}
