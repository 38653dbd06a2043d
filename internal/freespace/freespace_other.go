// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux && !darwin

// Package freespace asks how much room a file system has.
package freespace

import "errors"

// Below is not known here: the parts that need it run on Unix.
func Below(string) (int64, error) { return 0, errors.ErrUnsupported }
