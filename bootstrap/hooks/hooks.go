// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package hooks puts the stages of bootstrap into the boot of the machine:
// systemd units, or init scripts (LSB's or OpenRC's) where systemd is not the
// init system. It is
// the only code that talks to init tools (systemctl, update-rc.d, chkconfig,
// insserv), in a running system and in a chroot.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// The hooks, in boot order.
const (
	Early = "rightimage-early"
	Key   = "rightimage-key"
	Image = "rightimage"
	Boot  = "rightboot"
	Scale = "rightscale"
	Link  = "rightlink"
)

// Names lists all hooks in boot order.
func Names() []string { return append(ImageHooks(), AgentHooks()...) }

// ImageHooks are enabled when the image is made.
func ImageHooks() []string { return []string{Early, Key, Image} }

// AgentHooks are enabled once RightLink is installed.
func AgentHooks() []string { return []string{Boot, Scale, Link} }

// Stage returns the command of bootstrap that a hook runs.
func Stage(hook string) string {
	switch hook {
	case Early:
		return "early"
	case Key:
		return "key"
	}
	return hook
}

// ErrInit means that no init system is known that could run hooks.
var ErrInit = errors.New("no init system that could run the boot hooks")

// Manager writes, enables, starts and removes hooks below one root directory.
type Manager struct {
	root string
	live bool
	run  run.Runner
	init system
}

// system is one family of init systems.
type system interface {
	// file returns where a hook lies (below the root) and its content.
	file(hook string) (path string, data []byte, mode fs.FileMode)
	// enable and disable change what starts at boot; disable accepts hooks that
	// are not enabled.
	enable(ctx context.Context, hooks []string) error
	disable(ctx context.Context, hooks []string) error
	enabled(hook string) bool
	// start starts hooks 2 to 4 in order, without waiting for the agent.
	start(ctx context.Context) error
	// stop ends the agent and waits for it.
	stop(ctx context.Context) error
	// written and removed make the init system see that files are new, or gone.
	written(ctx context.Context) error
	removed(ctx context.Context) error
}

// New returns the Manager for a machine. live says that the init system runs
// now, so that hooks can be started and stopped; it is false in a chroot.
func New(root string, init detect.Init, live bool, r run.Runner) (*Manager, error) {
	m := &Manager{root: root, live: live, run: r}
	switch init {
	case detect.Systemd:
		m.init = systemd{m}
	case detect.SysV, detect.Upstart:
		m.init = lsb{m}
	case detect.OpenRC:
		// Debian's OpenRC runs LSB scripts; Alpine's and Gentoo's do not.
		if m.init = (openrc{m}); m.has("update-rc.d") {
			m.init = lsb{m}
		}
	case detect.InitNone:
		if !m.isDir("etc/init.d") {
			return nil, fmt.Errorf("%w below %s: neither systemd nor /etc/init.d; install one of them first", ErrInit, root)
		}
		m.init = lsb{m}
	}
	return m, nil
}

// RegisterImage writes the files of all hooks and enables those of the image,
// or the given ones. It returns what it changed.
func (m *Manager) RegisterImage(ctx context.Context, only ...string) ([]string, error) {
	if len(only) == 0 {
		only = ImageHooks()
	}
	files := m.extras(m.init, false)
	for _, h := range Names() {
		path, data, mode := m.init.file(h)
		files = append(files, extra{path, data, mode})
	}
	var changed []string
	for _, f := range files {
		full := filepath.Join(m.root, f.path)
		if same(full, f.data, f.mode) {
			continue
		}
		if err := atomicfile.WriteMkdir(full, f.data, f.mode, 0o755); err != nil {
			return changed, err
		}
		changed = append(changed, "/"+f.path)
	}
	if len(changed) > 0 {
		if err := m.init.written(ctx); err != nil {
			return changed, err
		}
	}
	enabled, err := m.enable(ctx, only)
	return append(changed, enabled...), err
}

// RegisterAgent enables hooks 2 to 4, or the given ones, for future boots. Hooks
// without a file are returned as missing: the image was not made with them, or
// they were removed on purpose.
func (m *Manager) RegisterAgent(ctx context.Context, only ...string) (changed, missing []string, err error) {
	if len(only) == 0 {
		only = AgentHooks()
	}
	var have []string
	for _, h := range only {
		if m.Installed(h) {
			have = append(have, h)
		} else {
			missing = append(missing, h)
		}
	}
	changed, err = m.enable(ctx, have)
	return changed, missing, err
}

func (m *Manager) enable(ctx context.Context, hooks []string) ([]string, error) {
	todo := slices.DeleteFunc(slices.Clone(hooks), m.init.enabled)
	if len(todo) == 0 {
		return nil, nil
	}
	if err := m.init.enable(ctx, todo); err != nil {
		return nil, err
	}
	var changed []string
	for _, h := range todo {
		changed = append(changed, "enabled "+h)
	}
	return changed, nil
}

// Deregister makes hooks not start at boot any more. Their files stay.
func (m *Manager) Deregister(ctx context.Context, hooks ...string) ([]string, error) {
	todo := slices.DeleteFunc(slices.Clone(hooks), func(h string) bool { return !m.init.enabled(h) })
	if len(todo) == 0 {
		return nil, nil
	}
	if err := m.init.disable(ctx, todo); err != nil {
		return nil, err
	}
	var changed []string
	for _, h := range todo {
		changed = append(changed, "disabled "+h)
	}
	return changed, nil
}

// Installed says that the hook's file is there.
func (m *Manager) Installed(hook string) bool {
	path, _, _ := m.init.file(hook)
	_, err := os.Stat(filepath.Join(m.root, path))
	return err == nil
}

// Enabled says that the hook starts at the next boot.
func (m *Manager) Enabled(hook string) bool { return m.init.enabled(hook) }

// Live says that the init system runs, so that Start and Stop do something.
func (m *Manager) Live() bool { return m.live }

// StartAgent starts hooks 2 to 4 now, in order, and does not wait for the agent.
func (m *Manager) StartAgent(ctx context.Context) error {
	if !m.live {
		return nil
	}
	return m.init.start(ctx)
}

// StopAgent stops the agent, if it runs, and waits for its decommission.
func (m *Manager) StopAgent(ctx context.Context) error {
	if !m.live {
		return nil
	}
	return m.init.stop(ctx)
}

// RemoveAll takes out every hook, of every init system, and returns the paths
// that it removed. The agent must have been stopped before.
func (m *Manager) RemoveAll(ctx context.Context) ([]string, error) {
	var removed []string
	var errs []error
	for _, init := range []system{systemd{m}, lsb{m}, openrc{m}} {
		paths, err := m.removeFrom(ctx, init)
		removed = append(removed, paths...)
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

func (m *Manager) removeFrom(ctx context.Context, init system) ([]string, error) {
	var enabled, removed []string
	for _, h := range Names() {
		if init.enabled(h) {
			enabled = append(enabled, h)
		}
	}
	if len(enabled) > 0 {
		if err := init.disable(ctx, enabled); err != nil {
			return nil, err
		}
	}
	paths := make([]string, 0, len(Names())+2)
	for _, h := range Names() {
		path, _, _ := init.file(h)
		paths = append(paths, path)
	}
	for _, f := range m.extras(init, true) {
		paths = append(paths, f.path)
	}
	for _, path := range paths {
		err := os.Remove(filepath.Join(m.root, path))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unixNotDir) {
			continue
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, "/"+path)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, init.removed(ctx)
}
