// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package publish turns a disk file into AMIs: snapshot through the EBS direct
// APIs, registration, waiting, tags, and the undo of all of it.
package publish

import (
	"context"
	"errors"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// Publish uploads the raw disk file to every target region of c and registers
// an AMI in each. On failure or cancel everything it made is removed again; the
// error lists what could not be.
func Publish(ctx context.Context, f *awsx.Factory, disk string, c Config, ui Reporter) (*Result, error) {
	return nil, errors.ErrUnsupported
}
