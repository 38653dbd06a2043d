// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sbom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// maxDatabase is the largest database of packages that is read. That of a
// desktop with 4,000 packages has 6 MiB.
const maxDatabase = 64 << 20

// readDatabase reads a file of the image; nothing when there is none.
func readDatabase(t *tree.Tree, p string) (string, error) {
	f, err := t.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", p, err)
	}
	if len(data) > maxDatabase {
		return "", fmt.Errorf("read %s: it has more than %d MiB, which no database of packages has", p, maxDatabase>>20)
	}
	return string(data), nil
}

// readSystem reads os-release.
func readSystem(t *tree.Tree) System {
	text := t.Text("/etc/os-release")
	if text == "" {
		text = t.Text("/usr/lib/os-release")
	}
	var s System
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			s.ID = value
		case "VERSION_ID":
			s.Version = value
		case "PRETTY_NAME":
			s.Name = value
		}
	}
	return s
}

// readDpkg reads the packages of Debian and its children.
func readDpkg(_ context.Context, t *tree.Tree, _ Options) ([]Package, error) {
	text, err := readDatabase(t, "/var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	for _, p := range t.Glob("/var/lib/dpkg/status.d/*") { // as distroless images have it
		if strings.HasSuffix(p, ".md5sums") {
			continue
		}
		more, err := readDatabase(t, p)
		if err != nil {
			return nil, err
		}
		text += "\n" + more + "\n"
	}
	return parseDpkg(text), nil
}

// parseDpkg reads dpkg's status file: paragraphs of fields, with continuation
// lines that begin with a blank.
func parseDpkg(text string) []Package {
	var out []Package
	p, state := Package{Kind: Deb}, ""
	for line := range strings.Lines(text + "\n\n") {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "":
			// A package without a state comes from a distroless image.
			if p.Name != "" && p.Version != "" && (state == "" || strings.HasSuffix(state, " installed")) {
				out = append(out, p)
			}
			p, state = Package{Kind: Deb}, ""
		case line[0] == ' ' || line[0] == '\t':
		case name == "Package":
			p.Name = value
		case name == "Version":
			p.Version = value
		case name == "Architecture":
			p.Arch = value
		case name == "Status":
			state = value
		case name == "Maintainer":
			p.Supplier = value
		case name == "Source":
			source, rest, _ := strings.Cut(value, " (")
			p.Source, p.SourceVersion = source, strings.TrimSuffix(rest, ")")
		}
	}
	return out
}

// readApk reads the packages of Alpine.
func readApk(_ context.Context, t *tree.Tree, _ Options) ([]Package, error) {
	for _, p := range []string{"/lib/apk/db/installed", "/usr/lib/apk/db/installed"} {
		text, err := readDatabase(t, p)
		if err != nil || text != "" {
			return parseApk(text), err
		}
	}
	return nil, nil
}

// parseApk reads apk's database: paragraphs of one-letter fields.
func parseApk(text string) []Package {
	var out []Package
	p := Package{Kind: APK}
	s := bufio.NewScanner(strings.NewReader(text + "\n\n"))
	s.Buffer(nil, maxDatabase)
	for s.Scan() {
		line := s.Text()
		if line == "" {
			if p.Name != "" && p.Version != "" {
				out = append(out, p)
			}
			p = Package{Kind: APK}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "P":
			p.Name = value
		case "V":
			p.Version = value
		case "A":
			p.Arch = value
		case "o":
			p.Source = value
		case "m":
			p.Supplier = value
		case "L":
			p.Licence = value
		}
	}
	return out
}
