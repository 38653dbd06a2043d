// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package agents holds the agents that the plugin puts into images: bootstrap
// as a binary, RightLink as packages. "make generate" fills dist; without it
// the package works and says that the agents are missing.
package agents

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

//go:embed dist
var dist embed.FS

// ErrNotEmbedded says that this build of the program carries no agents.
var ErrNotEmbedded = errors.New("this build carries no agents; run \"make generate\" and build again")

// Package is one RightLink package.
type Package struct {
	// Name is the file name, rightlink_<version>_<arch>.deb, .rpm or .tar.gz.
	Name string
	Data []byte
	// SHA256 is the digest of Data in hex.
	SHA256 string
}

// Bootstrap returns the bootstrap binary for linux and the given architecture
// (amd64 or arm64).
func Bootstrap(arch string) ([]byte, error) { return bootstrap(dist, arch) }

// Imagecheck returns the program that cleans and verifies a guest, for linux and
// the given architecture.
func Imagecheck(arch string) ([]byte, error) { return program(dist, "imagecheck", arch) }

// Packages returns the RightLink packages for the architecture, the tarball
// last.
func Packages(arch string) ([]Package, error) { return packages(dist, arch) }

// Version returns the version of the embedded RightLink packages.
func Version(arch string) (string, error) {
	all, err := Packages(arch)
	if err != nil {
		return "", err
	}
	return strings.Split(all[0].Name, "_")[1], nil
}

func bootstrap(from fs.FS, arch string) ([]byte, error) { return program(from, "bootstrap", arch) }

func program(from fs.FS, program, arch string) ([]byte, error) {
	name := "dist/" + program + "_linux_" + arch + ".gz"
	packed, err := fs.ReadFile(from, name)
	if err != nil {
		return nil, fmt.Errorf("%s for %s: %w", program, arch, ErrNotEmbedded)
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%s for %s: %w", program, arch, err)
	}
	data, err := io.ReadAll(zip)
	if err != nil {
		return nil, fmt.Errorf("%s for %s: %w", program, arch, err)
	}
	return data, nil
}

func packages(from fs.FS, arch string) ([]Package, error) {
	var all []Package
	for _, kind := range []string{"deb", "rpm", "tar.gz"} {
		names, err := fs.Glob(from, "dist/rightlink_*_"+arch+"."+kind)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := fs.ReadFile(from, name)
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256(data)
			all = append(all, Package{Name: path.Base(name), Data: data, SHA256: hex.EncodeToString(sum[:])})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("rightlink for %s: %w", arch, ErrNotEmbedded)
	}
	return all, nil
}
