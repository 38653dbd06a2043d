// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks

import (
	"io/fs"
	"path/filepath"
)

// extra is a file beside the hooks: what upgrades the agent by the clock. It
// does nothing on an image without mirrors, and on a dormant machine.
type extra struct {
	path string
	data []byte
	mode fs.FileMode
}

// scheduler is a system that can run something every day.
type scheduler interface {
	// schedule returns the files. In removing, all places are named.
	schedule(removing bool) []extra
}

const scheduled = "rightlink-upgrade"

// schedule is a timer, which rightlink.service pulls in.
func (systemd) schedule(bool) []extra {
	var list []extra
	for _, unit := range []string{scheduled + ".service", scheduled + ".timer"} {
		list = append(list, extra{filepath.Join(unitDir, unit), render(unit, map[string]string{"BIN": bootstrapBin, "LINK": rightlinkBin}), 0o644})
	}
	return list
}

// schedule is a script for cron, where there is one.
func (l lsb) schedule(removing bool) []extra {
	var list []extra
	for _, dir := range []string{"etc/cron.daily", "etc/periodic/daily"} {
		if removing || l.m.isDir(dir) {
			list = append(list, extra{filepath.Join(dir, scheduled), render("cron.sh", map[string]string{"BIN": bootstrapBin}), 0o755})
		}
	}
	return list
}

// extras are the files of the schedule on this system.
func (m *Manager) extras(init system, removing bool) []extra {
	if s, ok := init.(scheduler); ok {
		return s.schedule(removing)
	}
	return nil
}
