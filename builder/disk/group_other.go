// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package disk

import "os/exec"

// killGroup does nothing where there are no process groups.
func killGroup(*exec.Cmd) {}
