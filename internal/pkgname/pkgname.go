// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package pkgname knows the file names of RightLink packages and patches, ours
// and the original's, and what a mirror's signed metadata says about each. The
// mirror writes it, instances read it.
package pkgname

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Name is the name of the package.
const Name = "rightlink"

// Formats of packages. A patch replaces files of an installed version.
const (
	Deb     = "deb"
	RPM     = "rpm"
	Tarball = "tar.gz"
	Patch   = "patch"
)

// Info describes one file of a mirror. It is the custom part of the file's
// entry in the signed metadata.
type Info struct {
	// Version of RightLink; of a patch, the version that it changes.
	Version string `json:"version"`
	// Arch is amd64, arm64 or 386.
	Arch   string `json:"arch"`
	Format string `json:"format"`
	// Patch is the number of a patch; a higher one holds all of a lower one.
	Patch int `json:"patch,omitempty"`
	// Distro and OSVersion are set for packages with the original's names only.
	Distro    string `json:"distro,omitempty"`
	OSVersion string `json:"os_version,omitempty"`
	// Channels that point to this file.
	Channels []string `json:"channels,omitempty"`
}

// ErrName means that a file has not the name of a package.
var ErrName = errors.New("not the name of a RightLink package")

// The patterns of names; compiled at their first use, since most starts of the
// programs on an instance need none.
var (
	ours     = lazy(`^rightlink_([0-9a-z][-_.0-9a-z]*)_(amd64|arm64|386)\.(deb|rpm|tar\.gz)$`)
	original = lazy(`^rightscale_([0-9a-z][-_.0-9a-z]*)-([a-z]+)_([0-9][0-9.]*)-(amd64|x86_64|i386|i686|arm64|aarch64)\.(deb|rpm)$`)
	patch    = lazy(`^rightlink-patch_([0-9a-z][-_.0-9a-z]*)_([1-9][0-9]{0,5})_(amd64|arm64|386)\.tar\.gz$`)
	branch   = lazy(`^rightscale_([0-9a-zA-Z][-_.0-9a-zA-Z]*)\.tgz$`)
	version  = lazy(`^[0-9][-_.0-9a-z]*$`)
	channel  = lazy(`^[a-z][-_.0-9a-z]{0,63}$`)
)

// lazy is a pattern that is compiled when it is needed.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// IsVersion says that a word is a version: it begins with a digit and holds
// what RS_version may hold.
func IsVersion(word string) bool { return version().MatchString(word) }

// IsChannel says that a word names a channel: it begins with a letter.
func IsChannel(word string) bool { return channel().MatchString(word) }

// Parse reads a file name.
func Parse(file string) (Info, error) {
	if m := ours().FindStringSubmatch(file); m != nil {
		return Info{Version: m[1], Arch: m[2], Format: m[3]}, nil
	}
	if m := patch().FindStringSubmatch(file); m != nil {
		n, err := strconv.Atoi(m[2])
		return Info{Version: m[1], Arch: m[3], Format: Patch, Patch: n}, err
	}
	if m := original().FindStringSubmatch(file); m != nil {
		return Info{Version: m[1], Distro: m[2], OSVersion: m[3], Arch: goArch(m[4]), Format: m[5]}, nil
	}
	if m := branch().FindStringSubmatch(file); m != nil {
		return Info{Version: m[1], Format: Tarball}, nil // a developer's, of any architecture
	}
	return Info{}, fmt.Errorf("%w: %q; names are rightlink_<version>_<arch>.deb, .rpm or .tar.gz, rightlink-patch_<version>_<number>_<arch>.tar.gz, rightscale_<version>-<distro>_<os version>-<arch>.deb or .rpm", ErrName, file)
}

func goArch(seed string) string {
	switch seed {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "i386", "i686":
		return "386"
	}
	return seed
}

// PackageFile is our name of a package.
func PackageFile(version, arch, format string) string {
	return fmt.Sprintf("%s_%s_%s.%s", Name, version, arch, format)
}

// PatchFile is the name of a patch.
func PatchFile(version string, number int, arch string) string {
	return fmt.Sprintf("%s-patch_%s_%d_%s.tar.gz", Name, version, number, arch)
}

// Target is a file's path in a mirror: <version>/<file>, as in the original's
// bucket.
func (i Info) Target(file string) string { return path.Join(i.Version, file) }

// Candidates are the paths below a mirror's address where a target may lie:
// its own, and those of the original's bucket.
func (i Info) Candidates(target string) []string {
	file := path.Base(target)
	list := []string{target}
	if i.Distro != "" {
		list = append(list, path.Join(i.Version, i.Distro, file))
	}
	return append(list, file)
}

// Raw renders the custom part.
func (i Info) Raw() (*json.RawMessage, error) {
	text, err := json.Marshal(i)
	raw := json.RawMessage(text)
	return &raw, err
}

// FromRaw reads the custom part; a missing one is told from the file's name.
func FromRaw(target string, raw *json.RawMessage) (Info, error) {
	if raw == nil {
		return Parse(path.Base(target))
	}
	var i Info
	if err := json.Unmarshal(*raw, &i); err != nil {
		return Info{}, fmt.Errorf("metadata of %s: %w", target, err)
	}
	return i, nil
}

// Compare orders versions: runs of digits by number, the rest by letters; a
// text part is lower than none, so that 1.0-rc1 comes before 1.0.
func Compare(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = part(a)
		y, b = part(b)
		if c := comparePart(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// part cuts the first run of digits, or of letters, off a version.
func part(v string) (first, rest string) {
	v = strings.TrimLeft(v, "-_.")
	end := 0
	for end < len(v) && !strings.ContainsRune("-_.", rune(v[end])) && digit(v[end]) == digit(v[0]) {
		end++
	}
	return v[:end], v[end:]
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func comparePart(x, y string) int {
	rank := func(p string) int { // text < nothing < number
		switch {
		case p == "":
			return 1
		case digit(p[0]):
			return 2
		}
		return 0
	}
	if rank(x) != rank(y) {
		return rank(x) - rank(y)
	}
	if rank(x) == 2 {
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
	}
	return strings.Compare(x, y)
}
