// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package run

import "os/exec"

// killGroup does nothing where there are no process groups.
func killGroup(*exec.Cmd) {}

// KeepInherited does nothing where commands inherit only what they are given.
func KeepInherited() {}
