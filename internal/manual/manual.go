// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package manual holds the man pages and shell completions of our programs, and
// says where packages put them. "make generate" writes them from the programs'
// own help, and a test of each program keeps them true.
package manual

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2/files"
)

//go:embed pages
var pages embed.FS

// Folder is where the pages lie, from the root of the repository.
const Folder = "internal/manual/pages"

// Section returns the section of the manual that a program is in: 1 for what
// people use on a build host, 8 for what runs a machine.
func Section(program string) string {
	if program == "rightimage" {
		return "1"
	}
	return "8"
}

// file is one page or completion: its name in the folder, and on a machine.
type file struct {
	name, path string
}

// filesOf lists what a program has. The folder of zsh's completions is not the
// same in every system: Debian gives packages one of their own.
func filesOf(program, packager string) []file {
	section := Section(program)
	zsh := "/usr/share/zsh/site-functions/_"
	if packager == "deb" {
		zsh = "/usr/share/zsh/vendor-completions/_"
	}
	return []file{
		{program + "." + section, "/usr/share/man/man" + section + "/" + program + "." + section + ".gz"},
		{program + ".bash", "/usr/share/bash-completion/completions/" + program},
		{program + ".zsh", zsh + program},
		{program + ".fish", "/usr/share/fish/vendor_completions.d/" + program + ".fish"},
	}
}

// Contents are the pages of programs as parts of a package, "deb" or "rpm". They
// are written into dir, where the packager reads them.
func Contents(dir, packager string, at time.Time, programs ...string) (files.Contents, error) {
	var out files.Contents
	for _, program := range programs {
		for _, f := range filesOf(program, packager) {
			text, err := pages.ReadFile(path.Join("pages", f.name))
			if err != nil {
				return nil, fmt.Errorf("manual of %s: %w; run \"make generate\"", program, err)
			}
			if strings.HasSuffix(f.path, ".gz") {
				if text, err = pack(text); err != nil {
					return nil, err
				}
			}
			source := filepath.Join(dir, f.name)
			if err := os.WriteFile(source, text, 0o644); err != nil {
				return nil, err
			}
			out = append(out, &files.Content{Source: source, Destination: f.path, FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: at}})
		}
	}
	return out, nil
}

// pack compresses without a time, so that the same page gives the same bytes.
func pack(text []byte) ([]byte, error) {
	var b bytes.Buffer
	zip, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, werr := zip.Write(text)
	err = errors.Join(werr, zip.Close()) // before the bytes are taken
	return b.Bytes(), err
}
