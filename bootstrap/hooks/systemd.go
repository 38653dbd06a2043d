// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks

import (
	"context"
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

//go:embed templates
var templates embed.FS

// Paths that the templates name.
const (
	bootstrapBin = "/opt/rightscale/bin/bootstrap"
	rightlinkBin = "/opt/rightscale/bin/rightlink"
)

const (
	unitDir  = "etc/systemd/system"
	wantsDir = unitDir + "/multi-user.target.wants"
)

// DormantMark is the file, below the root, that keeps rightimage.service from
// starting in this boot: the stage before it has seen that there is nothing to
// do. Init scripts do not look at it.
const DormantMark = "run/rightimage/dormant"

// systemd registers units.
type systemd struct{ m *Manager }

func unit(hook string) string { return hook + ".service" }

func (systemd) file(hook string) (string, []byte, fs.FileMode) {
	return filepath.Join(unitDir, unit(hook)), render(unit(hook), map[string]string{"BIN": bootstrapBin, "LINK": rightlinkBin}), 0o644
}

func (s systemd) enabled(hook string) bool { return s.m.isLink(filepath.Join(wantsDir, unit(hook))) }

// enable uses systemctl, which works without a running systemd too. What it
// leaves undone (there is no systemctl, or it refuses to work on a foreign
// root) is done by hand: a unit is enabled by a link, no more.
func (s systemd) enable(ctx context.Context, hooks []string) error {
	s.offline(ctx, "enable", hooks)
	for _, h := range hooks {
		if err := s.m.link("/"+filepath.Join(unitDir, unit(h)), filepath.Join(wantsDir, unit(h))); err != nil {
			return err
		}
	}
	return nil
}

func (s systemd) disable(ctx context.Context, hooks []string) error {
	s.offline(ctx, "disable", hooks)
	patterns := make([]string, 0, 2*len(hooks))
	for _, h := range hooks {
		patterns = append(patterns, filepath.Join(unitDir, "*.wants", unit(h)), filepath.Join(unitDir, "*.requires", unit(h)))
	}
	if err := s.m.removeLinks(patterns...); err != nil {
		return err
	}
	// systemctl does not keep empty directories of links either.
	_ = os.Remove(filepath.Join(s.m.root, wantsDir))
	return nil
}

// offline runs systemctl enable or disable; the caller checks the links.
func (s systemd) offline(ctx context.Context, verb string, hooks []string) {
	args := []string{verb, "--quiet"}
	if !s.m.real() {
		args = []string{"--root=" + s.m.root, verb, "--quiet"}
	}
	if !s.m.has("systemctl") {
		return
	}
	for _, h := range hooks {
		args = append(args, unit(h))
	}
	_, _ = s.m.run.Run(ctx, "systemctl", args...) // whether it worked, the links decide
}

func (s systemd) removed(ctx context.Context) error { return s.written(ctx) }

func (s systemd) written(ctx context.Context) error {
	if !s.m.live {
		return nil
	}
	_, err := s.m.run.Run(ctx, "systemctl", "daemon-reload")
	return err
}

// start does not wait: the caller is a unit that the others are ordered after.
func (s systemd) start(ctx context.Context) error {
	_, err := s.m.run.Run(ctx, "systemctl", "start", "--no-block", unit(Link))
	return err
}

func (s systemd) stop(ctx context.Context) error {
	if !s.m.Installed(Link) {
		return nil
	}
	units := []string{"stop"}
	if s.m.isLink(filepath.Join(unitDir, scheduled+".timer")) { // images of older versions have none
		units = append(units, scheduled+".timer")
	}
	for _, h := range slices.Backward(AgentHooks()) {
		units = append(units, unit(h))
	}
	_, err := s.m.run.Run(ctx, "systemctl", units...)
	return err
}
