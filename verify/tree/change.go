// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tree

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
)

// Remove removes a file, a link or an empty directory.
func (t *Tree) Remove(p string) error {
	real, err := t.Parent(p)
	if err != nil {
		return err
	}
	return t.root.Remove(local(real))
}

// Truncate empties a file and keeps its mode and owner. Links are followed.
func (t *Tree) Truncate(p string) error {
	real, err := t.Resolve(p)
	if err != nil {
		return err
	}
	f, err := t.root.OpenFile(local(real), os.O_WRONLY|os.O_TRUNC|nonblock, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// Replace gives a file another content: completely or not at all, with the mode,
// owner and security label that it has. Links are followed.
func (t *Tree) Replace(p string, data []byte) error {
	real, err := t.Resolve(p)
	if err != nil {
		return err
	}
	info, err := t.root.Lstat(local(real))
	if err != nil {
		return err
	}
	return t.put(real, data, info)
}

// Create writes a new file that root owns. The directory must exist.
func (t *Tree) Create(p string, data []byte, mode fs.FileMode) error {
	real, err := t.Parent(p)
	if err != nil {
		return err
	}
	temp := path.Join(path.Dir(real), ".rightimage-"+rand.Text())
	return t.write(temp, real, data, mode, nil)
}

func (t *Tree) put(real string, data []byte, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "write", Path: real, Err: ErrNotRegular}
	}
	temp := path.Join(path.Dir(real), ".rightimage-"+rand.Text())
	return t.write(temp, real, data, info.Mode().Perm(), info)
}

func (t *Tree) write(temp, real string, data []byte, mode fs.FileMode, like fs.FileInfo) error {
	f, err := t.root.OpenFile(local(temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if like != nil {
		err = alike(f, t, real, like)
	}
	_, werr := f.Write(data)
	err = errors.Join(err, werr, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = t.root.Rename(local(temp), local(real))
	}
	if err != nil {
		return errors.Join(err, t.root.Remove(local(temp)))
	}
	return nil
}

// Symlink makes a link.
func (t *Tree) Symlink(to, p string) error {
	real, err := t.Parent(p)
	if err != nil {
		return err
	}
	return t.root.Symlink(to, local(real))
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(p string, mode fs.FileMode) error {
	real, err := t.Parent(p)
	if err != nil {
		return err
	}
	if err := t.root.Mkdir(local(real), mode.Perm()); err != nil {
		return err
	}
	return t.Chmod(p, mode) // whatever the umask
}

// Chmod changes the mode of what a path leads to.
func (t *Tree) Chmod(p string, mode fs.FileMode) error {
	real, err := t.Resolve(p)
	if err != nil {
		return err
	}
	return t.root.Chmod(local(real), mode)
}
