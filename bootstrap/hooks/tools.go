// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unixNotDir is the error of a path that goes through a file.
const unixNotDir = syscall.ENOTDIR

// toolDirs is where init tools lie. PATH is not used: at boot it may be short,
// and another root directory has its own programs.
func toolDirs() []string { return []string{"usr/sbin", "sbin", "usr/bin", "bin", "usr/lib/insserv"} }

// has says that a tool is there and executable below the root.
func (m *Manager) has(tool string) bool {
	for _, dir := range toolDirs() {
		info, err := os.Stat(filepath.Join(m.root, dir, tool))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// real says that the root is the machine's own, not a mounted image.
func (m *Manager) real() bool { return filepath.Clean(m.root) == "/" }

func (m *Manager) isDir(path string) bool {
	info, err := os.Stat(filepath.Join(m.root, path))
	return err == nil && info.IsDir()
}

// isLink says that a path is there, be it a link to nowhere.
func (m *Manager) isLink(path string) bool {
	_, err := os.Lstat(filepath.Join(m.root, path))
	return err == nil
}

// glob returns the paths below the root that match, relative to the root.
func (m *Manager) glob(pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(m.root, pattern)) // our patterns are well formed
	for i, f := range found {
		if rel, err := filepath.Rel(m.root, f); err == nil {
			found[i] = rel
		}
	}
	return found
}

// removeLinks removes links that match the patterns.
func (m *Manager) removeLinks(patterns ...string) error {
	for _, pattern := range patterns {
		for _, path := range m.glob(pattern) {
			full := filepath.Join(m.root, path)
			info, err := os.Lstat(full)
			if err != nil || info.Mode()&fs.ModeSymlink == 0 {
				continue
			}
			if err := os.Remove(full); err != nil {
				return err
			}
		}
	}
	return nil
}

// link makes a symbolic link below the root, unless it is there already.
func (m *Manager) link(target, path string) error {
	full := filepath.Join(m.root, path)
	if m.isLink(path) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, full)
}

func same(path string, data []byte, mode fs.FileMode) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != mode {
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && bytes.Equal(have, data)
}
