// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// openrc registers OpenRC's own scripts, for systems whose OpenRC runs no LSB
// scripts: Alpine and Gentoo. Debian's is served by lsb.
type openrc struct{ m *Manager }

// runlevel is where services of a normal boot start.
const runlevel = "default"

// order is what depend() of a script says.
type order struct{ need, use, after, before string }

func orders(hook string) order {
	later := order{need: "localmount", use: "net dns logger"}
	switch hook {
	case Early:
		return order{need: "localmount", before: "sshd dropbear"}
	case Key:
		later.after = Early
	case Image:
		later.after = Key
	case Boot:
		later.after = Image
	case Scale:
		later.need, later.after = "localmount "+Boot, Boot
	case Link:
		later.need, later.after = "localmount "+Scale, Scale
	}
	return later
}

func (openrc) file(hook string) (string, []byte, fs.FileMode) {
	h, o := headers(hook), orders(hook)
	values := map[string]string{"BIN": bootstrapBin, "STAGE": Stage(hook), "SHORT": h.short, "LONG": h.long, "OPTIONS": ""}
	if h.background {
		values["OPTIONS"] = " --background"
	}
	for name, words := range map[string]string{"need": o.need, "use": o.use, "after": o.after, "before": o.before} {
		line := ""
		if words != "" {
			line = name + " " + words
		}
		values[strings.ToUpper(name)] = line
	}
	return filepath.Join("etc/init.d", hook), withoutBlank(render("openrc.sh", values)), 0o755
}

// withoutBlank removes the lines of depend() that say nothing.
func withoutBlank(text []byte) []byte {
	return []byte(strings.ReplaceAll(string(text), "\t\n", ""))
}

func (openrc) links(hook string) string { return filepath.Join("etc/runlevels/*", hook) }

func (o openrc) enabled(hook string) bool { return len(o.m.glob(o.links(hook))) > 0 }

// enable makes the links itself: rc-update does no more, and cannot work on
// another root.
func (o openrc) enable(_ context.Context, hooks []string) error {
	for _, h := range hooks {
		if err := o.m.link("/etc/init.d/"+h, filepath.Join("etc/runlevels", runlevel, h)); err != nil {
			return fmt.Errorf("enable %s: %w", h, err)
		}
	}
	return nil
}

func (o openrc) disable(_ context.Context, hooks []string) error {
	for _, h := range hooks {
		if err := o.m.removeLinks(o.links(h)); err != nil {
			return err
		}
	}
	return nil
}

// start goes through OpenRC, which then knows that they run.
func (o openrc) start(ctx context.Context) error {
	for _, h := range AgentHooks() {
		if _, err := o.m.run.Run(ctx, "rc-service", h, "start"); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (o openrc) stop(ctx context.Context) error {
	if !o.m.Installed(Link) {
		return nil
	}
	_, err := o.m.run.Run(ctx, "rc-service", "--ifstarted", Link, "stop")
	return err
}

// written: OpenRC looks at the times of the files by itself.
func (openrc) written(context.Context) error { return nil }
func (openrc) removed(context.Context) error { return nil }

// schedule is the script for cron that other systems have too.
func (o openrc) schedule(removing bool) []extra { return lsb(o).schedule(removing) }
