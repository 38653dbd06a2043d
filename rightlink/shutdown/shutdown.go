// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package shutdown finds out, when the agent is told to stop, why: the machine
// goes down, or only the service is stopped or restarted.
package shutdown

import (
	"context"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// askTimeout bounds each question to the init system.
const askTimeout = 5 * time.Second

// KindUnknown is the kind of a decommission that somebody asked for by
// stopping the agent (SIGTERM) while the machine stays up.
const KindUnknown = "unknown"

// Unit is the agent's systemd unit.
const Unit = "rightlink.service"

// Kind returns reboot or stop if the machine goes down, and "unknown" if the
// agent alone is stopped, which decommissions the instance all the same, as it
// always did. It returns "" when the service manager is about to start the
// agent again ("systemctl restart", an upgrade): nothing is decommissioned
// then. The machine cannot know if a power-off is a stop or a termination; it
// says stop, and the platform learns of a termination from the cloud.
func Kind(ctx context.Context, r run.Runner) string {
	kind, restart := "", false
	if out, err := ask(ctx, r, "systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"); err == nil {
		kind, restart = fromJobs(out)
	}
	if kind == "" {
		if out, err := ask(ctx, r, "runlevel"); err == nil {
			kind = fromRunlevel(out)
		}
	}
	if kind == "" {
		if out, err := ask(ctx, r, "rc-status", "--runlevel"); err == nil {
			kind = fromOpenRC(out)
		}
	}
	switch {
	case kind != "":
		return kind
	case restart:
		return ""
	}
	return KindUnknown
}

func ask(ctx context.Context, r run.Runner, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return r.Run(ctx, name, args...)
}

// fromJobs reads lines of the form "123 reboot.target start waiting".
func fromJobs(out string) (kind string, restart bool) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[1] == Unit && strings.HasPrefix(fields[2], "restart") {
			restart = true
		}
		if len(fields) < 3 || fields[2] != "start" {
			continue
		}
		switch fields[1] {
		case "reboot.target", "kexec.target", "soft-reboot.target", "systemd-reboot.service", "systemd-kexec.service", "systemd-soft-reboot.service":
			return wire.KindReboot, false
		case "poweroff.target", "halt.target", "shutdown.target", "systemd-poweroff.service", "systemd-halt.service":
			kind = wire.KindStop
		}
	}
	return kind, restart
}

// fromOpenRC reads the name of a runlevel. OpenRC as init has one for both ways
// of going down; then a stop is as good a guess as any.
func fromOpenRC(out string) string {
	switch strings.TrimSpace(out) {
	case "reboot":
		return wire.KindReboot
	case "shutdown", "off", "halt":
		return wire.KindStop
	}
	return ""
}

// fromRunlevel reads "<previous> <current>".
func fromRunlevel(out string) string {
	fields := strings.Fields(out)
	if len(fields) != 2 {
		return ""
	}
	switch fields[1] {
	case "6":
		return wire.KindReboot
	case "0":
		return wire.KindStop
	}
	return ""
}
