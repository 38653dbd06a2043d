// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package tree

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

const nonblock = 0

func factsOf(fs.FileInfo) Facts { return Facts{} }

// FactsOf knows nothing on this system.
func FactsOf(fs.FileInfo) Facts { return Facts{} }

func virtual(*os.File) bool { return false }

func alike(*os.File, *Tree, string, fs.FileInfo) error { return nil }

// Attributes are not read on this system.
func (*Entry) Attributes() map[string][]byte { return nil }

// AttributesOf reads nothing on this system.
func AttributesOf(*os.File) map[string][]byte { return nil }

// Free is not known on this system.
func (*Tree) Free() (free, size int64, err error) { return 0, 0, errors.ErrUnsupported }

// Date cannot be done on this system.
func (*Tree) Date(string, time.Time) error { return errors.ErrUnsupported }

// HasCapabilities is not known on this system.
func HasCapabilities(*os.File) bool { return false }

// Virtual is not known on this system.
func (*Tree) Virtual(string) bool { return false }

// Trim is not known on this system.
func (*Tree) Trim() (int64, error) { return 0, errors.ErrUnsupported }

// ZeroFree is not done on this system.
func (*Tree) ZeroFree() (int64, error) { return 0, errors.ErrUnsupported }
