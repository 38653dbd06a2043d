// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imagediff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// file is what is compared of a file before its content is.
type file struct {
	mode     fs.FileMode
	size     int64
	uid, gid uint32
}

// walk lists every name of the image.
func (i *image) walk(ctx context.Context) error {
	var mu sync.Mutex
	var failed []error
	i.files = map[string]file{}
	seen := map[[2]uint64]bool{}
	i.tree.Walk(runtime.GOMAXPROCS(0), func(_ int, e *tree.Entry) bool {
		if ctx.Err() != nil {
			return false
		}
		f := file{mode: e.Mode, uid: e.UID, gid: e.GID}
		mu.Lock()
		defer mu.Unlock()
		if e.Regular() {
			f.size = e.Size
			if id := [2]uint64{e.Dev, e.Ino}; e.Links < 2 || !seen[id] {
				seen[id] = e.Links > 1
				i.side.Bytes += e.Size
			}
		}
		i.files[e.Path] = f
		return true
	}, func(p string, err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, fmt.Errorf("read %s: %w", p, err))
	})
	i.side.Files = len(i.files)
	return errors.Join(append(failed, ctx.Err())...)
}

// Files lists the files that differ between the trees in two directories, by
// path, whoever brought them.
func Files(ctx context.Context, from, to string) ([]FileChange, error) {
	var images [2]*image
	for n, dir := range []string{from, to} {
		t, err := tree.Open(dir)
		if err != nil {
			return nil, err
		}
		defer t.Close() //nolint:errcheck // only read
		images[n] = &image{tree: t}
		if err := images[n].walk(ctx); err != nil {
			return nil, err
		}
	}
	return compareFiles(ctx, images[0], images[1])
}

// compareFiles lists the files that differ, by path. Files of one size are read.
func compareFiles(ctx context.Context, a, b *image) ([]FileChange, error) {
	var mu sync.Mutex
	var out []FileChange
	add := func(c FileChange) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, c)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for p, was := range a.files {
		is, both := b.files[p]
		if !both {
			add(FileChange{Action: Removed, Path: p, From: was.size})
			continue
		}
		what := metadata(was, is)
		c := FileChange{Action: Changed, Path: p, What: what, From: was.size, To: is.size}
		switch {
		case slices.Contains(what, "type"):
			add(c)
		case was.mode.IsRegular() && was.size == is.size && was.size > 0, was.mode&fs.ModeSymlink != 0:
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				more, err := content(a.tree, b.tree, p, was.mode)
				if c.What = append(c.What, more...); len(c.What) > 0 {
					add(c)
				}
				return err
			})
		case was.size != is.size:
			c.What = append(c.What, "content")
			add(c)
		case len(what) > 0:
			add(c)
		}
	}
	for p, is := range b.files {
		if _, both := a.files[p]; !both {
			add(FileChange{Action: Added, Path: p, To: is.size})
		}
	}
	err := group.Wait()
	slices.SortFunc(out, func(x, y FileChange) int { return cmp.Compare(x.Path, y.Path) })
	return out, err
}

// metadata says in what two files differ without being opened.
func metadata(a, b file) []string {
	var what []string
	if a.mode.Type() != b.mode.Type() {
		what = append(what, "type")
	}
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if a.mode&bits != b.mode&bits {
		what = append(what, "mode")
	}
	if a.uid != b.uid || a.gid != b.gid {
		what = append(what, "owner")
	}
	return what
}

// content says whether two files of one size, or two links, differ.
func content(a, b *tree.Tree, p string, mode fs.FileMode) ([]string, error) {
	if mode&fs.ModeSymlink != 0 {
		x, err1 := a.Readlink(p)
		y, err2 := b.Readlink(p)
		if x != y {
			return []string{"link"}, errors.Join(err1, err2)
		}
		return nil, errors.Join(err1, err2)
	}
	x, err := a.Open(p)
	if err != nil {
		return nil, err
	}
	defer x.Close() //nolint:errcheck // only read
	y, err := b.Open(p)
	if err != nil {
		return nil, err
	}
	defer y.Close() //nolint:errcheck // only read
	same, err := equal(x, y)
	if same || err != nil {
		return nil, err
	}
	return []string{"content"}, nil
}

// equal reports whether two streams hold the same.
func equal(a, b io.Reader) (bool, error) {
	const size = 64 << 10
	x, y := make([]byte, size), make([]byte, size)
	for {
		n, endA, err1 := fill(a, x)
		m, endB, err2 := fill(b, y)
		if err := errors.Join(err1, err2); err != nil {
			return false, err
		}
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if endA || endB {
			return endA == endB, nil
		}
	}
}

// fill reads until p is full or the stream ends.
func fill(r io.Reader, p []byte) (n int, end bool, err error) {
	n, err = io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

// database reports whether a path is of the databases of packages, which the
// packages stand for.
func database(p string) bool {
	for _, dir := range []string{"/var/lib/dpkg", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/lib/apk/db", "/usr/lib/apk/db"} {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// configuration reports whether a path is what people and programs set up.
func configuration(p string) bool {
	for _, dir := range []string{"/etc", "/boot/grub", "/boot/grub2", "/boot/loader", "/boot/extlinux"} {
		if (p == dir || strings.HasPrefix(p, dir+"/")) && !strings.HasSuffix(p, ".mod") {
			return true
		}
	}
	return false
}
