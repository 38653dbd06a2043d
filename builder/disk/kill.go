// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// How often processes that were asked to end are looked for before they are
// killed, and how long between two looks.
const (
	killLooks = 5
	killDelay = 200 * time.Millisecond
)

// killInside ends the processes whose root or working directory lies in dir:
// politely, then for good. A daemon that a provisioner started would keep the
// disk busy.
func killInside(ctx context.Context, r run.Runner, dir string) error {
	for look := range killLooks + 1 {
		pids, err := processesInside(ctx, r, dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		switch look {
		case 0:
			// Some may be gone by now, which makes kill fail; the next look tells.
			_, _ = r.Run(ctx, "kill", append([]string{"-TERM"}, pids...)...)
		case killLooks:
			_, _ = r.Run(ctx, "kill", append([]string{"-KILL"}, pids...)...)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(killDelay):
		}
	}
	return nil
}

// processesInside returns the ids of the processes in dir. Only root may see
// where others' processes are, so that find asks, not this process.
func processesInside(ctx context.Context, r run.Runner, dir string) ([]string, error) {
	// find also fails when a process ends meanwhile; what it printed counts.
	out, err := r.Run(ctx, "find", "/proc", "-maxdepth", "2", "-regex", `/proc/[0-9]+/\(root\|cwd\)`, "-printf", `%h %l\n`)
	if out == "" && err != nil {
		return nil, err
	}
	return parseProcesses(out, dir), nil
}

func parseProcesses(text, dir string) []string {
	var pids []string
	for line := range strings.Lines(text) {
		proc, target, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || target != dir && !strings.HasPrefix(target, dir+"/") {
			continue
		}
		if pid := filepath.Base(proc); !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
