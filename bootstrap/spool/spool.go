// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package spool writes user-data and metadata to /var/spool/cloud in every
// format that scripts of RightScale images read.
package spool

import (
	"context"
	"errors"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// Input is one generation of the spool.
type Input struct {
	UserData userdata.Data
	MetaData *cloud.Tree // nil or empty: no meta-data files
	// EnvPrefix is the cloud's, for flattened metadata names: "EC2_".
	EnvPrefix string
}

// Dir is the spool's path below root.
func Dir(root string) string { return root + "/var/spool/cloud" }

// Write makes the spool hold exactly this generation and says if anything
// changed. A kill at any moment leaves either the old or the new generation.
func Write(root string, in Input) (changed bool, err error) {
	return false, errors.New("not built yet")
}

// Refresh asks the cloud again and writes the spool. It is what
// `bootstrap rightscale refresh` runs, which meta-data.rb calls.
func Refresh(ctx context.Context, root string, c cloud.Cloud) (changed bool, err error) {
	return false, errors.New("not built yet")
}

// Wipe removes the spool's content and leftovers of killed writers.
func Wipe(root string) error { return errors.New("not built yet") }

// EnvName is the flattening rule: components joined by "_", every other
// character replaced by "_", upper case, prefix unless it is there or RS_ is.
func EnvName(prefix string, path ...string) string { return "" }
