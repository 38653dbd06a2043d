// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
)

// The spool's modes: user-data holds the enrolment token.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// leftover is the prefix, beside the spool, of directories being built or
// removed.
const leftover = ".cloud."

// lock makes writers wait for each other. It locks the parent directory itself,
// so that no lock file stays behind, and creates it if needed.
func lock(parent string) (unlock func(), err error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	return dirlock.Lock(parent)
}

// withInputs adds the operator's input files of the present generation.
func withInputs(dir string, files []file) ([]file, error) {
	for _, name := range []string{"user-data.txt", "meta-data.txt"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, data})
	}
	return files, nil
}

// same says that dir holds exactly files, with the right modes.
func same(dir string, files []file) bool {
	want := make(map[string][]byte, len(files))
	for _, f := range files {
		want[f.path] = f.data
	}
	found := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.IsDir() {
			if info.Mode().Perm() != dirMode {
				return fs.ErrInvalid
			}
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		data, ok := want[rel]
		if !ok || !e.Type().IsRegular() || info.Mode().Perm() != fileMode || info.Size() != int64(len(data)) {
			return fs.ErrInvalid
		}
		got, err := os.ReadFile(path) //nolint:gosec // only compared, and only root can write below dir
		if err != nil || !bytes.Equal(got, data) {
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(want)
}

// replace builds the new generation beside dir, brings it to the disk, and puts
// it in dir's place with one rename.
func replace(dir string, files []file) error {
	parent := filepath.Dir(dir)
	if err := removeLeftovers(dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, leftover) // 0700
	if err != nil {
		return err
	}
	if err := build(tmp, files); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := swap(tmp, dir); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if d, err := os.Open(parent); err == nil {
		_ = d.Sync() // some file systems refuse; the rename itself stands
		_ = d.Close()
	}
	return removeLeftovers(dir) // the old generation is one of them now
}

func build(tmp string, files []file) error {
	made := map[string]bool{".": true}
	for _, f := range files {
		if sub := filepath.Dir(f.path); !made[sub] {
			if err := os.MkdirAll(filepath.Join(tmp, sub), dirMode); err != nil {
				return err
			}
			made[sub] = true
		}
		if err := os.WriteFile(filepath.Join(tmp, f.path), f.data, fileMode); err != nil {
			return err
		}
	}
	d, err := os.Open(tmp)
	if err != nil {
		return err
	}
	// One sync of the file system instead of one per file: there are about 150.
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// swap exchanges tmp and dir in one step. Where the file system cannot do that,
// it takes two, and a kill between them leaves no spool, which the next run
// makes anew.
func swap(tmp, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(tmp, dir)
	}
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	if !slices.Contains([]error{unix.ENOSYS, unix.EINVAL, unix.ENOTSUP}, err) {
		return fmt.Errorf("exchange %s and %s: %w", tmp, dir, err)
	}
	if err := os.Rename(dir, tmp+".old"); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return errors.Join(err, os.Rename(tmp+".old", dir))
	}
	return nil
}

func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), leftover) {
			errs = append(errs, os.RemoveAll(filepath.Join(filepath.Dir(dir), e.Name())))
		}
	}
	return errors.Join(errs...)
}
