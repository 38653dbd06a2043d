// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sbom

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// leastProgram is smaller than any Go program.
const leastProgram = 256 << 10

// readPrograms finds the Go programs of an image by what the linker wrote into
// them, wherever they are and whatever they are named.
func readPrograms(ctx context.Context, t *tree.Tree) (found []Package, notes []string) {
	var mu sync.Mutex
	seen := map[[2]uint64]bool{}
	t.Walk(runtime.GOMAXPROCS(0), func(_ int, e *tree.Entry) bool {
		if ctx.Err() != nil {
			return false
		}
		if !e.Regular() || e.Size < leastProgram || e.Mode.Perm()&0o111 == 0 {
			return true
		}
		info, err := readProgram(e)
		if err != nil || info == nil {
			return true // most programs are not written in Go
		}
		mu.Lock()
		defer mu.Unlock()
		if id := [2]uint64{e.Dev, e.Ino}; e.Links > 1 {
			if seen[id] {
				return true
			}
			seen[id] = true
		}
		found = append(found, modules(e.Path, info)...)
		return true
	}, func(p string, err error) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, fmt.Sprintf("%s could not be searched for programs: %v", p, err))
	})
	slices.Sort(notes)
	return found, notes
}

// readProgram returns what Go's linker wrote into a program; nothing for other
// files. debug/buildinfo reads hostile files without fear, but one that makes it
// panic must not end the build.
func readProgram(e *tree.Entry) (info *debug.BuildInfo, err error) {
	defer func() {
		if r := recover(); r != nil {
			info, err = nil, fmt.Errorf("read %s: %v", e.Path, r)
		}
	}()
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != "\x7fELF" {
		return nil, errors.Join(err, errNoProgram)
	}
	return buildinfo.Read(f)
}

var errNoProgram = errors.New("no ELF program")

// modules are the modules of a program, with Go's own library.
func modules(path string, info *debug.BuildInfo) []Package {
	out := []Package{{Kind: Golang, Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go"), Path: path}}
	if info.Main.Path != "" {
		main := module(path, &info.Main)
		main.Main = true
		out = append(out, main)
	} else {
		out = append(out, Package{Kind: Golang, Name: info.Path, Path: path, Main: true})
	}
	for _, dep := range info.Deps {
		if dep != nil {
			out = append(out, module(path, dep))
		}
	}
	return out
}

// module is a module as it was built: a replacement stands for what it replaces.
func module(path string, m *debug.Module) Package {
	for m.Replace != nil && m.Replace.Version != "" {
		m = m.Replace
	}
	version := m.Version
	if version == "(devel)" {
		version = ""
	}
	return Package{Kind: Golang, Name: m.Path, Version: version, Path: path}
}
