// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package features reads and writes features.yml, the switches of the agent on
// this machine.
package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Features are the switches with their defaults filled in.
type Features struct {
	// DecommissionTimeout bounds the decommission scripts.
	DecommissionTimeout time.Duration
	// ManagedLogin lets the platform say who may log in; off unless asked for.
	ManagedLogin bool
	// FreezeRepositories and UpdateMOTD are kept for the tools of RightLink 6.
	FreezeRepositories bool
	UpdateMOTD         bool
}

// Names are the switches, as features.yml nests them.
const (
	DecommissionTimeout = "decommission.timeout"
	ManagedLogin        = "managed_login.enable"
	FreezeRepositories  = "package_repositories.freeze"
	UpdateMOTD          = "motd.update"
)

// DefaultDecommissionTimeout bounds the decommission scripts unless the file
// says otherwise.
const DefaultDecommissionTimeout = 180 * time.Second

// Names lists all switches.
func Names() []string {
	return []string{DecommissionTimeout, ManagedLogin, FreezeRepositories, UpdateMOTD}
}

// Load reads the file; without one, or with a damaged one, all is as by
// default. The error tells of the damage.
func Load(path string) (Features, error) {
	f := Features{DecommissionTimeout: DefaultDecommissionTimeout, FreezeRepositories: true, UpdateMOTD: true}
	tree, err := read(path)
	if err != nil {
		return f, err
	}
	if n, ok := get(tree, DecommissionTimeout).(int); ok && n > 0 {
		f.DecommissionTimeout = time.Duration(n) * time.Second
	}
	for name, to := range map[string]*bool{ManagedLogin: &f.ManagedLogin, FreezeRepositories: &f.FreezeRepositories, UpdateMOTD: &f.UpdateMOTD} {
		if b, ok := get(tree, name).(bool); ok {
			*to = b
		}
	}
	return f, nil
}

// Value returns a switch as text.
func (f Features) Value(name string) string {
	switch name {
	case DecommissionTimeout:
		return strconv.Itoa(int(f.DecommissionTimeout / time.Second))
	case ManagedLogin:
		return onOff(f.ManagedLogin)
	case FreezeRepositories:
		return onOff(f.FreezeRepositories)
	}
	return onOff(f.UpdateMOTD)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// Set writes one switch and leaves the others, also those it does not know.
func Set(path, name, text string) error {
	var value any
	switch name {
	case DecommissionTimeout:
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 || n > 24*3600 {
			return fmt.Errorf("%s is %q; want seconds, from 1 to 86400", name, text)
		}
		value = n
	case ManagedLogin, FreezeRepositories, UpdateMOTD:
		switch text {
		case "on", "true":
			value = true
		case "off", "false":
			value = false
		default:
			return fmt.Errorf("%s is %q; want on or off", name, text)
		}
	default:
		return fmt.Errorf("there is no switch %q; there are %s", name, strings.Join(Names(), ", "))
	}
	tree, err := read(path)
	if err != nil {
		return err
	}
	outer, inner, _ := strings.Cut(name, ".")
	section, _ := tree[outer].(map[string]any)
	if section == nil {
		section = map[string]any{}
	}
	section[inner] = value
	tree[outer] = section
	out, err := yaml.Marshal(tree)
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(path, append([]byte("---\n"), out...), 0o644, 0o755)
}

func get(tree map[string]any, name string) any {
	outer, inner, _ := strings.Cut(name, ".")
	section, _ := tree[outer].(map[string]any)
	return section[inner]
}

func read(path string) (map[string]any, error) {
	tree := map[string]any{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tree, nil
	}
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		return map[string]any{}, fmt.Errorf("read %s: %w", path, err)
	}
	if tree == nil {
		tree = map[string]any{}
	}
	return tree, nil
}
