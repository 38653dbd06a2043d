// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import "github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"

// wrongLogins bounds wrong tokens and passwords. Tokens have 160 random bits:
// for them this is about load, not about guessing.
var wrongLogins = attempts.Bounds{PerName: 5, PerAddress: 60, Entries: 20000}
