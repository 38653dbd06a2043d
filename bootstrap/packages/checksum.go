// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ChecksumSuffix is the name of the file beside a package with its SHA-256, in
// the format of sha256sum.
const ChecksumSuffix = ".sha256"

// Verify compares a package with the checksum that the provisioner recorded.
func Verify(path string) error {
	text, err := os.ReadFile(path + ChecksumSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing; if you trust the file: cd %s && sha256sum %s >%s", ErrChecksum,
			path+ChecksumSuffix, filepath.Dir(path), filepath.Base(path), filepath.Base(path)+ChecksumSuffix)
	}
	if err != nil {
		return err
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 || len(fields[0]) != hex.EncodedLen(sha256.Size) {
		return fmt.Errorf("%w: %s does not begin with a SHA-256", ErrChecksum, path+ChecksumSuffix)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, fields[0]) {
		return fmt.Errorf("%w: %s has %s, recorded is %s; put the package in again", ErrChecksum, path, got, strings.ToLower(fields[0]))
	}
	return nil
}
