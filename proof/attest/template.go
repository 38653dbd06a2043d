// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Template describes the files of a template: the file itself, or those of a
// directory that Packer reads (*.pkr.hcl, *.pkr.json, *.pkrvars.*). Variables are
// part of what was asked for; they are named by their digest alone.
func Template(path string) ([]Descriptor, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("template_file: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		files = nil
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("template_file: %w", err)
		}
		for _, e := range entries {
			if n := e.Name(); e.Type().IsRegular() && (strings.Contains(n, ".pkr.") || strings.Contains(n, ".pkrvars.")) {
				files = append(files, filepath.Join(path, n))
			}
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("template_file: there are no templates (*.pkr.hcl) in %s", path)
		}
	}
	slices.Sort(files)
	var out []Descriptor
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("template_file: %w", err)
		}
		out = append(out, Descriptor{Name: "template", URI: "file:" + filepath.Base(f), Digest: SHA256(data)})
	}
	return out, nil
}

// SHA256 is the digest set of data.
func SHA256(data []byte) map[string]string {
	sum := sha256.Sum256(data)
	return map[string]string{"sha256": hex.EncodeToString(sum[:])}
}
