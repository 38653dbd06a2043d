// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package vars holds what the local API lets others set: variables for all
// scripts, and the reason of a shutdown. They live as long as the boot.
package vars

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// file is what is kept on disk, which is lost with the boot.
type file struct {
	Env          map[string]string `json:"env"`
	ShutdownKind string            `json:"shutdown_kind,omitempty"`
	Immediately  bool              `json:"immediately,omitempty"`
}

// Vars is safe for use by several goroutines.
type Vars struct {
	path string
	mu   sync.Mutex
	file file
}

// MaxValue bounds a value in bytes, as for inputs.
const MaxValue = 64 << 10

// name of an environment variable.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Open reads the file; a damaged one counts as empty.
func Open(path string) (*Vars, error) {
	v := &Vars{path: path}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the boot's variables: %w", err)
	}
	if err == nil && json.Unmarshal(text, &v.file) != nil {
		v.file = file{}
	}
	if v.file.Env == nil {
		v.file.Env = map[string]string{}
	}
	return v, nil
}

func (v *Vars) save() error {
	text, err := json.MarshalIndent(v.file, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(v.path, append(text, '\n'), 0o600, 0o755)
}

// Env returns a copy of the variables.
func (v *Vars) Env() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.file.Env)
}

// SetEnv sets a variable for all scripts from now on.
func (v *Vars) SetEnv(key, value string) error {
	if !name.MatchString(key) {
		return fmt.Errorf("%q is not the name of a variable (letters, digits, _)", key)
	}
	if len(value) > MaxValue || strings.ContainsRune(value, 0) {
		return fmt.Errorf("the value of %s holds a NUL byte or more than %d bytes", key, MaxValue)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.file.Env[key] = value
	return v.save()
}

// DeleteEnv removes a variable; false if there was none.
func (v *Vars) DeleteEnv(key string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.file.Env[key]; !ok {
		return false, nil
	}
	delete(v.file.Env, key)
	return true, v.save()
}

// Shutdown returns why the machine is about to go down, "" if nobody said, and
// whether decommission scripts are left out.
func (v *Vars) Shutdown() (kind string, immediately bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.file.ShutdownKind, v.file.Immediately
}

// SetShutdown notes why the machine is about to go down.
func (v *Vars) SetShutdown(kind string, immediately bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.file.ShutdownKind, v.file.Immediately = kind, immediately
	return v.save()
}
