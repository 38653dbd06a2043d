// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
)

// formatVersion is the version of the format that is written.
const formatVersion = 1

// Write writes the file of a single entry.
func Write(path string, e Entry) error { return write(path, e) }

// Read reads a file with the entries of many builds, or with a single one. A
// file that does not exist is an empty catalogue.
func Read(path string) (File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return File{Version: formatVersion}, nil
	}
	if err != nil {
		return File{}, err
	}
	var either struct {
		File
		Entry
	}
	if err := json.Unmarshal(data, &either); err != nil {
		return File{}, fmt.Errorf("catalogue %s: %w", path, err)
	}
	switch {
	case either.Version == formatVersion:
		return either.File, nil
	case either.Version != 0:
		return File{}, fmt.Errorf("catalogue %s: format version %d is newer than this program", path, either.Version)
	case either.BuiltBy == "":
		return File{}, fmt.Errorf("catalogue %s: is no catalogue of RightImage", path)
	default:
		return File{Version: formatVersion, Entries: []Entry{either.Entry}}, nil
	}
}

// Update reads the file of many builds, lets change alter it and writes it
// back, while no other build can do the same.
func Update(path string, change func(*File) error) error {
	unlock, err := dirlock.Lock(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	f, err := Read(path)
	if err == nil {
		err = change(&f)
	}
	if err != nil {
		return err
	}
	if len(f.Entries) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	f.Version = formatVersion
	return write(path, f)
}

func write(path string, what any) error {
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o644)
}
