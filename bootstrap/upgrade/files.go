// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upgrade

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
)

// Kept is where versions lie beside the running one, as hard links where that
// is possible: a package manager replaces files by renaming, so that the old
// content stays.
const Kept = "/opt/rightscale/versions"

// bin is what belongs to the agent, but for the image's own program in it.
const (
	bin   = "/opt/rightscale/bin"
	own   = "bootstrap"
	agent = bin + "/rightlink"
)

// keep makes a copy of the agent's files. Files of an older copy go first.
func (u *Upgrader) keep(l Label) error {
	to := u.folder(l)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return u.each(filepath.Join(u.Root, bin), func(name string) error {
		return clone(filepath.Join(u.Root, bin, name), filepath.Join(to, name))
	}, to)
}

// restore brings the kept files back, each by one rename, and removes those
// that the new version has brought.
func (u *Upgrader) restore(l Label) error {
	from, to := u.folder(l), filepath.Join(u.Root, bin)
	if _, err := os.Lstat(filepath.Join(from, filepath.Base(agent))); err != nil {
		return err // the copy is not whole: what is there is better than nothing
	}
	if err := u.each(from, func(name string) error {
		tmp := filepath.Join(to, "."+name+".back")
		if err := os.RemoveAll(tmp); err != nil {
			return err
		}
		if err := clone(filepath.Join(from, name), tmp); err != nil {
			return err
		}
		return os.Rename(tmp, filepath.Join(to, name))
	}, to); err != nil {
		return err
	}
	return u.each(to, func(name string) error {
		if _, err := os.Lstat(filepath.Join(from, name)); errors.Is(err, fs.ErrNotExist) {
			return os.RemoveAll(filepath.Join(to, name))
		}
		return nil
	}, to)
}

// each calls fn for the entries of a folder and syncs the changed one.
func (u *Upgrader) each(dir string, fn func(name string) error, changed string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == own || e.IsDir() {
			continue
		}
		if err := fn(e.Name()); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(changed)
}

// clone makes a second name of a file, or a copy on another file system. Links
// are copied.
func clone(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(info.Mode().Perm()), out.Sync(), out.Close())
}

// prune keeps the copy of the version before, and no other.
func (u *Upgrader) prune(last Label) {
	entries, err := os.ReadDir(filepath.Join(u.Root, Kept))
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(u.Root, Kept, e.Name())
		if path != u.folder(last) {
			_ = os.RemoveAll(path)
		}
	}
}

func (u *Upgrader) digest() string {
	sum, err := fetch.Digest(filepath.Join(u.Root, agent))
	if err != nil {
		return ""
	}
	return sum
}
