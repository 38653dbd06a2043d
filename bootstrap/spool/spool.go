// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package spool writes user-data and metadata to /var/spool/cloud in every
// format that scripts of RightScale images read.
//
// Three things differ from the original on purpose:
//   - values in .sh files do not expand: "$" and backticks are escaped too, so
//     that sourcing the file gives the value and starts nothing;
//   - files are 0600 and directories 0700, since user-data holds the enrolment token;
//   - a new generation replaces the old one as a whole.
package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// RefreshCommand is what meta-data.rb runs to refresh the cache before loading
// it. It does Refresh and nothing else of the stage.
const RefreshCommand = "/opt/rightscale/bin/bootstrap rightscale refresh"

// UserDataPrefix is put before flattened user-data keys.
const UserDataPrefix = "RS_"

// Input is one generation of the spool.
type Input struct {
	UserData userdata.Data
	MetaData *cloud.Tree // nil or empty: no meta-data files
	// EnvPrefix is the cloud's, for flattened metadata names: "EC2_".
	EnvPrefix string
}

// Dir is the spool's path below root.
func Dir(root string) string { return filepath.Join(root, "var/spool/cloud") }

// Write makes the spool hold exactly this generation and says if anything
// changed. A kill at any moment leaves either the old or the new generation.
// Input files that an operator put there (user-data.txt, meta-data.txt, through
// the link /var/spool/ec2 for instance) are carried over.
func Write(root string, in Input) (changed bool, err error) {
	files := append(userDataFiles(in.UserData), metaDataFiles(in.MetaData, in.EnvPrefix)...)
	dir := Dir(root)
	unlock, err := lock(filepath.Dir(dir))
	if err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	defer unlock()
	if files, err = withInputs(dir, files); err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	if same(dir, files) {
		return false, nil
	}
	if err := replace(dir, files); err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	return true, nil
}

// Refresh asks the cloud again and writes the spool. It is what RefreshCommand
// runs. When the cloud has no user-data the files say so (an empty
// user-data.raw).
func Refresh(ctx context.Context, root string, c cloud.Cloud) (changed bool, err error) {
	raw, err := c.UserData(ctx)
	if err != nil && !errors.Is(err, cloud.ErrAbsent) {
		return false, err
	}
	tree, err := c.MetaData(ctx)
	if err != nil {
		return false, err
	}
	return Write(root, Input{UserData: userdata.Parse(raw), MetaData: tree, EnvPrefix: c.EnvPrefix()})
}

// Digest is the digest of the whole spool: names, modes and contents; "" when
// there is none, or something in it is no file of ours.
func Digest(root string) string {
	dir := Dir(root)
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00%s\x00", path[len(dir):], info.Mode())
		if e.IsDir() {
			return nil
		}
		if !e.Type().IsRegular() {
			return fs.ErrInvalid
		}
		data, err := os.ReadFile(path) //nolint:gosec // only root can write below dir
		fmt.Fprintf(h, "%d\x00%s", len(data), data)
		return err
	})
	if err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Wipe removes everything below the spool directory, input files too, and what
// killed writers left beside it. The directory itself stays.
func Wipe(root string) error {
	dir := Dir(root)
	if _, err := os.Lstat(filepath.Dir(dir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lock(filepath.Dir(dir))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer unlock()
	errs := []error{removeLeftovers(dir)}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}
