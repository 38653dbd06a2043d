// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package run

import (
	"os"
	"strconv"
	"syscall"
)

// KeepInherited keeps the descriptors that this process was given, beyond the
// three of the terminal, from the commands that it starts. Packer hands copies of
// its own output to plugins; a command that outlives a killed build would hold it
// open, and whoever reads it ("packer build | tee") would wait for its end.
func KeepInherited() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // no such list on this system
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
