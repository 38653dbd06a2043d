// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package tree reads and changes the files of an image that is mounted in a
// directory. The image is hostile: a link in it means a path of the image, as it
// would in a chroot, and never one of this machine. Paths are those of the image
// and begin with a slash.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// MaxText is the most that ReadFile reads: no configuration file is larger.
const MaxText = 4 << 20

// maxLinks bounds how many links one path may lead through, as in the kernel.
const maxLinks = 40

// ErrLinks says that the links of a path lead in a circle.
var ErrLinks = errors.New("too many links")

// ErrNotRegular says that a path is no regular file.
var ErrNotRegular = errors.New("not a regular file")

// Tree is an open image. It may be used by several goroutines.
type Tree struct {
	root *os.Root
}

// Open opens the directory where an image is mounted.
func Open(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	return &Tree{root}, nil
}

// Close closes the image.
func (t *Tree) Close() error { return t.root.Close() }

// Name returns the directory where the image is mounted.
func (t *Tree) Name() string { return t.root.Name() }

// local is a path as os.Root wants it.
func local(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

// Resolve follows every link of a path and returns the path without links.
func (t *Tree) Resolve(p string) (string, error) { return t.resolve(p, true) }

// Parent follows the links of a path but not its last element, which need not
// exist.
func (t *Tree) Parent(p string) (string, error) { return t.resolve(p, false) }

func (t *Tree) resolve(p string, last bool) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	done := "/"
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" {
			continue
		}
		next := path.Join(done, name) // ".." cannot lead above the root
		if len(rest) == 0 && !last {
			return next, nil
		}
		info, err := t.root.Lstat(local(next))
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: ErrLinks}
		}
		to, err := t.root.Readlink(local(next))
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) {
			done = "/"
		}
		// Not cleaned: what ".." means depends on where links before it lead.
		rest = append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
	}
	return done, nil
}

// Lstat describes a path; when it is a link, the link itself.
func (t *Tree) Lstat(p string) (fs.FileInfo, error) {
	real, err := t.Parent(p)
	if err != nil {
		return nil, err
	}
	return t.root.Lstat(local(real))
}

// Stat describes what a path leads to.
func (t *Tree) Stat(p string) (fs.FileInfo, error) {
	real, err := t.Resolve(p)
	if err != nil {
		return nil, err
	}
	return t.root.Lstat(local(real))
}

// Exists reports whether a path leads to something.
func (t *Tree) Exists(p string) bool {
	_, err := t.Resolve(p)
	return err == nil
}

// Readlink returns where a link leads.
func (t *Tree) Readlink(p string) (string, error) {
	real, err := t.Parent(p)
	if err != nil {
		return "", err
	}
	return t.root.Readlink(local(real))
}

// Open opens a regular file for reading.
func (t *Tree) Open(p string) (*os.File, error) {
	real, err := t.Resolve(p)
	if err != nil {
		return nil, err
	}
	return openRegular(t.root, local(real))
}

// openRegular opens a file without waiting for the other end of a pipe.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadFile reads a regular file, at most MaxText bytes of it.
func (t *Tree) ReadFile(p string) ([]byte, error) {
	f, err := t.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, MaxText))
}

// Text is ReadFile for files that may be missing.
func (t *Tree) Text(p string) string {
	data, err := t.ReadFile(p)
	if err != nil {
		return ""
	}
	return string(data)
}

// ReadDir returns the sorted names in a directory; none when there is no such
// directory.
func (t *Tree) ReadDir(p string) []string {
	real, err := t.Resolve(p)
	if err != nil {
		return nil
	}
	f, err := t.root.OpenFile(local(real), os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	return names
}

// Glob returns the paths that match patterns; * and ? stand for no slash.
func (t *Tree) Glob(patterns ...string) []string {
	var out []string
	for _, pattern := range patterns {
		segments := strings.Split(strings.Trim(pattern, "/"), "/")
		out = append(out, t.glob("/", segments)...)
	}
	return out
}

func (t *Tree) glob(dir string, segments []string) []string {
	if len(segments) == 0 {
		return []string{dir}
	}
	first, rest := segments[0], segments[1:]
	if !strings.ContainsAny(first, "*?[") {
		next := path.Join(dir, first)
		if len(rest) > 0 {
			return t.glob(next, rest)
		}
		if _, err := t.Lstat(next); err != nil {
			return nil
		}
		return []string{next}
	}
	var out []string
	for _, name := range t.ReadDir(dir) {
		if ok, err := path.Match(first, name); ok && err == nil && (first[0] == '.' || name[0] != '.' || first == "*") {
			out = append(out, t.glob(path.Join(dir, name), rest)...)
		}
	}
	return out
}
