// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package atomicfile writes files that are either the old content or the new
// one, never a part, and that carry their mode from the first moment.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// temporary stands between the name of a file and the number of its temporary
// one.
const temporary = ".tmp-"

// IsTemporary reports whether a name is that of a file that is written just now,
// or was when the machine lost its power.
func IsTemporary(name string) bool {
	_, number, found := strings.Cut(name, temporary)
	return found && name[0] == '.' && number != "" && strings.Trim(number, "0123456789") == ""
}

// Write replaces path by data with the given mode. The data goes to a
// temporary file in the same directory (created 0600), is synced, and renamed
// over path; the directory is synced after the rename, so that the new name
// survives a power cut. On an error path is as it was.
func Write(path string, data []byte, mode fs.FileMode) error {
	if err := replace(path, data, mode, (*os.File).Sync); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// WriteLazily is Write without the syncs, for what can be made again: it may be
// gone, old or empty after a power cut, never after the death of a process.
func WriteLazily(path string, data []byte, mode fs.FileMode) error {
	return replace(path, data, mode, func(*os.File) error { return nil })
}

func replace(path string, data []byte, mode fs.FileMode, sync func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+temporary)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, werr := tmp.Write(data)
	if err := errors.Join(werr, tmp.Chmod(mode), sync(tmp), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// WriteMkdir is Write after creating the missing parent directories with
// dirMode.
func WriteMkdir(path string, data []byte, mode, dirMode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return Write(path, data, mode)
}

// SyncDir makes new and changed names in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	// Some file systems refuse to sync a directory; the rename itself stands.
	_ = d.Sync()
	return d.Close()
}
