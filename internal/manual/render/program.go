// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package render writes the man page and the shell completions of a program from
// what the program itself says: its cobra commands, or its one usage text.
package render

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/manual"
)

// Program is what pages are rendered from.
type Program struct {
	Name string
	// Short says in one line what it is.
	Short string
	// Synopsis is how it is called, without its name.
	Synopsis string
	// Long is the description: paragraphs, and indented text that is kept as it is.
	Long string
	// Verbatim keeps all of Long as it is.
	Verbatim bool
	Commands []Command
	// Options of all commands.
	Options []Option
	// Completions by shell: bash, zsh, fish.
	Completions map[string]string
}

// Command is a command of a program.
type Command struct {
	// Usage is the whole call, such as "rightimage local fault add --action A".
	Usage   string
	Name    string
	Short   string
	Long    string
	Example string
	Options []Option
}

// Option is a flag.
type Option struct {
	// Name with its dashes, such as "--json".
	Name string
	// Letter is its short form, such as "-o"; empty for none.
	Letter string
	// Value is what it takes, such as "file"; empty for a switch.
	Value   string
	Meaning string
}

var update = flag.Bool("update-manual", false, "write the man page and the completions instead of comparing them")

// Check compares the committed pages of a program with what it says today; with
// -update-manual, as "make generate" does, it writes them.
func Check(t *testing.T, root string, p Program) {
	t.Helper()
	pages := map[string]string{p.Name + "." + manual.Section(p.Name): p.Man(manual.Section(p.Name))}
	for shell, text := range p.Completions {
		pages[p.Name+"."+shell] = text
	}
	for name, text := range pages {
		file := filepath.Join(root, manual.Folder, name)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			continue
		}
		old, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		require.True(t, string(old) == text, "%s is stale; run \"make generate\" and commit it", filepath.Join(manual.Folder, name))
	}
}
