// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package quickstart runs the quick starts of docs/ as a newcomer would: it takes
// the shell commands out of the Markdown and runs them as they stand there, each
// page from top to bottom in one shell, with a new home and a new folder.
package quickstart

import (
	"fmt"
	"strings"
)

// Kinds of blocks, the second word after the fence. A block without one runs as it
// is.
const (
	// Install compiles the tools. "make test" has done that; only a full run does
	// it again, in a clone.
	Install = "install"
	// BaseDisk makes the base disk, which is taken from the cache in a short run.
	BaseDisk = "base-disk"
	// OnMachine is typed on a machine of the reader's, as root.
	OnMachine = "machine"
	// Boots boots a machine beside what the page is about; only a full run does.
	Boots = "boots"
)

// Block is a fenced block of shell commands.
type Block struct {
	Line int    // of the first command
	Kind string // "" or one of the above
	Text string
}

// Blocks takes the commands out of a page. Each fence must be one of shell
// commands, so that nothing on a page is left untested.
func Blocks(page string) ([]Block, error) {
	var out []Block
	var current *Block
	number := 0
	for line := range strings.Lines(page) {
		number++
		text := strings.TrimRight(line, "\n")
		switch {
		case current != nil && text == "```":
			out, current = append(out, *current), nil
		case current != nil:
			current.Text += line
		case strings.HasPrefix(text, "```"):
			language, kind, _ := strings.Cut(strings.TrimPrefix(text, "```"), " ")
			if language != "sh" {
				return nil, fmt.Errorf("line %d: a block of %q: a quick start has shell commands only; write files with cat <<'EOT'", number, language)
			}
			switch kind {
			case "", Install, BaseDisk, OnMachine, Boots:
			default:
				return nil, fmt.Errorf("line %d: a block of the unknown kind %q", number, kind)
			}
			current = &Block{Line: number + 1, Kind: kind}
		case strings.HasPrefix(text, "    ") && strings.TrimSpace(text) != "":
			return nil, fmt.Errorf("line %d: indented code would not be run; use a fence", number)
		}
	}
	if current != nil {
		return nil, fmt.Errorf("line %d: the block has no end", current.Line)
	}
	return out, nil
}

// Surroundings are what a page runs with.
type Surroundings struct {
	// Repo is the checkout with what "make build" made, Cache its cache.
	Repo, Cache string
	// Base is the base disk that stands in for a new one.
	Base string
	// Full runs everything as it stands, compiling included.
	Full bool
	// Machine is the root directory of the reader's machine; empty for none.
	Machine string
}

// Script is the shell script of a page. It ends when all has ended that the page
// started, and stopped.
func (s Surroundings) Script(name string, blocks []Block) string {
	var b strings.Builder
	b.WriteString("set -eu\n")
	for _, block := range blocks {
		fmt.Fprintf(&b, "echo '== %s:%d'\n", name, block.Line)
		switch {
		case block.Kind == Boots && !s.Full:
			b.WriteString("echo 'left out of a short run'\n")
		case block.Kind == OnMachine:
			fmt.Fprintf(&b, "env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot %s /bin/bash -eu <<'END OF BLOCK'\n%sEND OF BLOCK\n",
				s.Machine, block.Text)
		case block.Kind == Install && !s.Full:
			fmt.Fprintf(&b, "mkdir packer-plugin-rightimage\ncd packer-plugin-rightimage\ncp -R %s/example .\nexport PATH=\"%s/bin:%s/bin:$PATH\"\n", s.Repo, s.Repo, s.Cache)
			fmt.Fprintf(&b, "packer plugins install --path %s/bin/packer-plugin-rightimage github.com/rightimage/rightimage\n", s.Repo)
		case block.Kind == BaseDisk && !s.Full:
			fmt.Fprintf(&b, "cp --sparse=always %s base.raw\n", s.Base)
		default:
			b.WriteString(block.Text)
		}
	}
	b.WriteString("echo '== end'\nwait\n")
	return b.String()
}
