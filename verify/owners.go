// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bufio"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/maphash"
	"io"
	"path"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// owners tells which files of an image packages have brought, by the databases
// of dpkg and apk. A file's path is kept as a hash, so that a hundred thousand
// of them take little memory.
type owners struct {
	t        *tree.Tree
	kind     string // "dpkg", "apk", or "" when no database could be read
	seed     maphash.Seed
	files    map[uint64]int32 // index into packages
	packages []installed
	sums     map[uint64]string // of apk: in its database
}

// installed is a package.
type installed struct{ name, version, state string }

func readOwners(t *tree.Tree) *owners {
	o := &owners{t: t, seed: maphash.MakeSeed(), files: map[uint64]int32{}, sums: map[uint64]string{}}
	o.readDpkg()
	if o.kind == "" {
		o.readApk()
	}
	return o
}

func (o *owners) hash(p string) uint64 {
	// Merged or not, /bin and /usr/bin are one directory.
	if strings.HasPrefix(p, "/usr/") {
		switch first, _, _ := strings.Cut(p[5:], "/"); first {
		case "bin", "sbin", "lib", "lib64", "lib32", "libx32":
			p = p[4:]
		}
	}
	return maphash.String(o.seed, p)
}

func (o *owners) readDpkg() {
	text := o.t.Text("/var/lib/dpkg/status")
	for _, p := range o.t.Glob("/var/lib/dpkg/status.d/*") { // as distroless images have it
		text += "\n" + o.t.Text(p) + "\n"
	}
	if text == "" {
		return
	}
	o.kind = "dpkg"
	var p installed
	arch, same := "", false
	for l := range strings.Lines(text + "\n") {
		l = strings.TrimRight(l, "\n")
		name, value, _ := strings.Cut(l, ": ")
		switch {
		case l == "" && p.name != "":
			o.packages = append(o.packages, p)
			o.readDpkgList(p.name, arch, same)
			p, arch, same = installed{}, "", false
		case name == "Package":
			p.name = value
		case name == "Version":
			p.version = value
		case name == "Status":
			p.state = value
		case name == "Architecture":
			arch = value
		case name == "Multi-Arch":
			same = value == "same"
		}
	}
}

func (o *owners) readDpkgList(name, arch string, same bool) {
	list := "/var/lib/dpkg/info/" + name
	if same && o.t.Exists(list+":"+arch+".list") {
		list += ":" + arch
	}
	index := int32(len(o.packages) - 1)
	for l := range strings.Lines(o.t.Text(list + ".list")) {
		o.files[o.hash(strings.TrimRight(l, "\n"))] = index
	}
}

func (o *owners) readApk() {
	text := o.t.Text("/lib/apk/db/installed")
	if text == "" {
		return
	}
	o.kind = "apk"
	dir, last := "", ""
	known := false // the record has named its package
	for l := range strings.Lines(text + "\n") {
		l = strings.TrimRight(l, "\n")
		if l == "" {
			dir, known = "", false
			continue
		}
		name, value, _ := strings.Cut(l, ":")
		if name != "P" && !known {
			continue
		}
		switch name {
		case "P":
			known = true
			o.packages = append(o.packages, installed{name: value, state: "install ok installed"})
		case "V":
			o.packages[len(o.packages)-1].version = value
		case "F":
			dir = "/" + value
		case "R":
			last = path.Join(dir, value)
			o.files[o.hash(last)] = int32(len(o.packages) - 1)
		case "Z":
			o.sums[o.hash(last)] = value
		}
	}
}

// known reports whether the image's package database could be read.
func (o *owners) known() bool { return o.kind != "" }

// of returns the package that has brought a file.
func (o *owners) of(p string) (name string, ok bool) {
	i, ok := o.files[o.hash(p)]
	if !ok || int(i) >= len(o.packages) {
		return "", false
	}
	return o.packages[i].name, true
}

// has reports whether a package is installed.
func (o *owners) has(names ...string) (string, bool) {
	for _, p := range o.packages {
		for _, n := range names {
			if p.name == n && strings.HasSuffix(p.state, " installed") {
				return p.name, true
			}
		}
	}
	return "", false
}

// intact reports whether a file is as its package has brought it.
func (o *owners) intact(p string) bool {
	name, ok := o.of(p)
	if !ok {
		return false
	}
	switch o.kind {
	case "dpkg":
		for _, list := range o.t.Glob("/var/lib/dpkg/info/"+name+".md5sums", "/var/lib/dpkg/info/"+name+":*.md5sums") {
			for l := range strings.Lines(o.t.Text(list)) {
				sum, file, _ := strings.Cut(strings.TrimRight(l, "\n"), "  ")
				if o.hash("/"+file) == o.hash(p) {
					return sum == hex.EncodeToString(o.digest(p, md5.New()))
				}
			}
		}
	case "apk":
		want := strings.TrimPrefix(o.sums[o.hash(p)], "Q1")
		return want != "" && want == base64.StdEncoding.EncodeToString(o.digest(p, sha1.New()))
	}
	return false
}

func (o *owners) digest(p string, h hash.Hash) []byte {
	f, err := o.t.Open(p)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	if _, err := io.Copy(h, f); err != nil {
		return nil
	}
	return h.Sum(nil)
}

// recorded reports whether a file is a fixture of a Python distribution that its
// RECORD lists with this content.
func (o *owners) recorded(p string) bool {
	if !fixture(p) {
		return false
	}
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if b := path.Base(dir); b != "site-packages" && b != "dist-packages" {
			continue
		}
		rel := strings.TrimPrefix(p, dir+"/")
		for _, record := range o.t.Glob(dir + "/*.dist-info/RECORD") {
			s := bufio.NewScanner(strings.NewReader(o.t.Text(record)))
			for s.Scan() {
				file, rest, _ := strings.Cut(s.Text(), ",sha256=")
				sum, _, _ := strings.Cut(rest, ",")
				if file == rel {
					return sum == base64.RawURLEncoding.EncodeToString(o.digest(p, sha256.New()))
				}
			}
		}
		return false
	}
	return false
}

// fixture reports whether a path is in a directory of tests.
func fixture(p string) bool {
	for _, d := range []string{"/test/", "/tests/", "/testing/", "/testdata/", "/fixtures/", "/test_data/"} {
		if strings.Contains(p, d) {
			return true
		}
	}
	return false
}
