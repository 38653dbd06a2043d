// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// rpm says that this is a system of rpm packages: the program and its database
// are there. A Debian may have the program and the folder; asking rpm there
// would make a database.
func (m *Manager) rpm() bool {
	if _, err := os.Stat(filepath.Join(m.Root, "var/lib/dpkg/status")); err == nil {
		return false
	}
	_, program := os.Stat(filepath.Join(m.Root, "usr/bin/rpm"))
	if program != nil {
		_, program = os.Stat(filepath.Join(m.Root, "bin/rpm"))
	}
	return program == nil && m.rpmDatabase() != ""
}

// rpmDatabase is where the database lies: its place moved over the years.
func (m *Manager) rpmDatabase() string {
	for _, dir := range []string{"usr/lib/sysimage/rpm", "var/lib/rpm"} {
		if info, err := os.Stat(filepath.Join(m.Root, dir)); err == nil && info.IsDir() {
			return filepath.Join(m.Root, dir)
		}
	}
	return ""
}

// rpmVersion is the installed version, if the package is. A version's dashes
// are tildes in rpm, which allows none.
func (m *Manager) rpmVersion(ctx context.Context) (string, bool) {
	if !m.rpm() {
		return "", false
	}
	out, err := m.Run.Run(ctx, "rpm", m.rpmArgs("-q", "--qf", "%{VERSION}", name)...)
	v := strings.TrimSpace(out)
	return strings.ReplaceAll(v, "~", "-"), err == nil && v != ""
}

// installRPM installs, upgrades, or goes back to an older version. rpm checks
// digests itself; signatures are ours, in the mirror's metadata.
func (m *Manager) installRPM(ctx context.Context, path string) error {
	return m.rpmLocked(ctx, "-U", "--oldpackage", "--replacepkgs", "--nosignature", path)
}

func (m *Manager) eraseRPM(ctx context.Context) error { return m.rpmLocked(ctx, "-e", name) }

func (m *Manager) rpmLocked(ctx context.Context, args ...string) error {
	return m.locked(ctx, filepath.Join(m.rpmDatabase(), ".rpm.lock"), "rpm", m.rpmArgs(args...))
}

func (m *Manager) rpmArgs(args ...string) []string {
	if filepath.Clean(m.Root) == "/" {
		return args
	}
	return append([]string{"--root", m.Root}, args...)
}
