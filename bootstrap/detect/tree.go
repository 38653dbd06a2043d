// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tree reads files below a root directory. Symbolic links are resolved inside
// it, so that /etc/os-release -> /usr/lib/os-release of a mounted disk is not
// read from the host.
type tree struct{ root string }

func newTree(root string) tree {
	if root == "" {
		root = "/"
	}
	return tree{filepath.Clean(root)}
}

// live says that root is the running system's (or the chroot's) own.
func (t tree) live() bool { return t.root == "/" }

// Bounds for what is read: release files are small, and links may loop.
const (
	maxFile  = 64 << 10
	maxLinks = 40
)

// resolve returns the path on this machine of name (relative to the root) with
// every link followed inside the root, and "" when it does not exist.
func (t tree) resolve(name string) string {
	rest, done := strings.Split(path.Clean("/" + name)[1:], "/"), "/"
	links := 0
	for len(rest) > 0 {
		next := path.Join(done, rest[0])
		info, err := os.Lstat(filepath.Join(t.root, next))
		if err != nil {
			return ""
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done, rest = next, rest[1:]
			continue
		}
		target, err := os.Readlink(filepath.Join(t.root, next))
		if links++; err != nil || links > maxLinks {
			return ""
		}
		if !path.IsAbs(target) {
			target = path.Join(done, target)
		}
		rest, done = append(strings.Split(path.Clean("/" + target)[1:], "/"), rest[1:]...), "/"
	}
	return filepath.Join(t.root, done)
}

// text returns the beginning of a regular file, or "" when there is none.
func (t tree) text(name string) string {
	p := t.resolve(name)
	if p == "" {
		return ""
	}
	if info, err := os.Stat(p); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(p)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	data, _ := io.ReadAll(io.LimitReader(f, maxFile))
	return string(data)
}

// line is the trimmed first line of a file.
func (t tree) line(name string) string {
	l, _, _ := strings.Cut(t.text(name), "\n")
	return strings.TrimSpace(l)
}

func (t tree) exists(name string) bool { return t.resolve(name) != "" }
