// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

type record interface {
	key() string
	made() time.Time
}

func (s Snapshot) key() string     { return s.ID }
func (s Snapshot) made() time.Time { return s.StartTime }
func (i Image) key() string        { return i.ID }
func (i Image) made() time.Time    { return i.CreationDate }
func (r Role) key() string         { return r.Name }
func (r Role) made() time.Time     { return r.Created }
func (s Settings) key() string     { return settingsKey }
func (s Settings) made() time.Time { return time.Time{} }

func (p InstanceProfile) key() string     { return p.Name }
func (p InstanceProfile) made() time.Time { return p.Created }
func (i Instance) key() string            { return i.ID }
func (i Instance) made() time.Time        { return i.LaunchTime }
func (k KeyPair) key() string             { return k.ID }
func (k KeyPair) made() time.Time         { return k.Created }

// Table holds the records of one kind in one region: in memory for reading, and
// one JSON file each for the next start. Records are values: whoever wants to
// change a map inside one clones it first and calls Put.
type Table[T record] struct {
	dir  string
	rows map[string]T
	born map[string]time.Time // when records came that were not there at the start
}

func loadTable[T record](dir string) (*Table[T], error) {
	t := &Table[T]{dir: dir, rows: map[string]T{}, born: map[string]time.Time{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), ".") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		var row T
		if err := json.Unmarshal(data, &row); err != nil {
			return nil, fmt.Errorf("read state file %s (remove it to go on without the record): %w", name, err)
		}
		t.rows[row.key()] = row
	}
	return t, nil
}

// Get returns a record by its id.
func (t *Table[T]) Get(id string) (T, bool) {
	row, ok := t.rows[id]
	return row, ok
}

// Born tells when a record came, by the clock of the machine; false when it is
// not there or was there at the start.
func (t *Table[T]) Born(id string) (time.Time, bool) {
	at, ok := t.born[id]
	return at, ok
}

// All returns the records in the order in which they were made.
func (t *Table[T]) All() []T {
	rows := make([]T, 0, len(t.rows))
	for _, row := range t.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b T) int {
		return cmp.Or(a.made().Compare(b.made()), cmp.Compare(a.key(), b.key()))
	})
	return rows
}

// Put writes a record to its file, then to memory.
func (t *Table[T]) Put(row T) error {
	data, err := json.MarshalIndent(row, "", "  ")
	if err != nil {
		return fmt.Errorf("write state of %s: %w", row.key(), err)
	}
	if err := atomicfile.Write(t.path(row.key()), append(data, '\n'), 0o600); err != nil {
		return err
	}
	if _, there := t.rows[row.key()]; !there {
		t.born[row.key()] = time.Now()
	}
	t.rows[row.key()] = row
	return nil
}

// Delete removes a record and its file. An unknown id is no error.
func (t *Table[T]) Delete(id string) error {
	if err := os.Remove(t.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state of %s: %w", id, err)
	}
	delete(t.rows, id)
	delete(t.born, id)
	return nil
}

func (t *Table[T]) path(id string) string { return filepath.Join(t.dir, id+".json") }
