// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package early is what must be done before ssh starts and needs no network:
// host keys, and the growth of the root partition and its file system. Where
// cloud-init is enabled it does both, and this package nothing.
package early

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Options of Run.
type Options struct {
	Root string
	Run  run.Runner
	Log  *slog.Logger
}

// Result says what was done.
type Result struct {
	// Skipped says why nothing was done; empty when the work was done.
	Skipped string
	// Changed lists what is different now.
	Changed []string
	// Notes says what was left alone, and why.
	Notes []string
}

// Run makes host keys first, since the machine is of no use without a login,
// and then grows the root. A growth that is not possible is a note, not an
// error: the machine works with its small disk.
func Run(ctx context.Context, o Options) (Result, error) {
	if why := CloudInit(o.Root); why != "" {
		return Result{Skipped: why}, nil
	}
	var res Result
	made, keyErr := HostKeys(o.Root)
	res.Changed = append(res.Changed, made...)
	if len(made) > 0 && fileExists(o.Root, "usr/sbin/restorecon", "sbin/restorecon") {
		// SELinux labels; without them sshd may not read its keys. A help, not a
		// need: an error is no reason to stop.
		_, _ = o.Run.Run(ctx, "restorecon", "-R", filepath.Join(o.Root, sshDir))
	}
	grown, notes, growErr := newGrower(o).grow(ctx)
	res.Changed = append(res.Changed, grown...)
	res.Notes = notes
	return res, errors.Join(keyErr, growErr)
}

// CloudInit says why this work is cloud-init's; empty when cloud-init is not
// installed, or switched off.
func CloudInit(root string) string {
	if fileExists(root, "etc/cloud/cloud-init.disabled") || strings.Contains(cmdline(root), "cloud-init=disabled") {
		return ""
	}
	for _, unit := range []string{"cloud-init.service", "cloud-init-main.service", "cloud-init-network.service"} {
		if target, err := os.Readlink(filepath.Join(root, "etc/systemd/system", unit)); err == nil && target == os.DevNull {
			continue // masked
		}
		for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
			if fileExists(root, filepath.Join(dir, unit)) {
				return "cloud-init is enabled and does this"
			}
		}
	}
	if fileExists(root, "etc/init.d/cloud-init", "etc/init/cloud-init.conf") {
		return "cloud-init is enabled and does this"
	}
	return ""
}

func cmdline(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "proc/cmdline"))
	if err != nil {
		return ""
	}
	return string(text)
}

func fileExists(root string, paths ...string) bool {
	for _, p := range paths {
		if _, err := os.Stat(filepath.Join(root, p)); err == nil {
			return true
		}
	}
	return false
}
