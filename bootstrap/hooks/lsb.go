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

// lsb registers init scripts with an LSB header.
type lsb struct{ m *Manager }

// header is what differs between the scripts.
type header struct {
	requiredStart, requiredStop, shouldStart, startBefore, stopAfter, defaultStop string
	// chkconfig is the start and the stop priority of systems without
	// dependencies.
	chkconfig string
	short     string
	long      string
	// background lets the boot go on while the stage waits for the network:
	// with sysvinit the login comes after the last script.
	background bool
}

func headers(hook string) header {
	later := header{
		requiredStart: "$syslog $remote_fs $network $named", requiredStop: "$syslog $remote_fs",
		defaultStop: "0 1 6", background: true,
	}
	switch hook {
	case Early:
		return header{
			requiredStart: "$local_fs", startBefore: "ssh sshd", chkconfig: "05 95",
			short: "Host keys and growth of the root file system",
			long:  "Makes host keys if there are none and grows the root file system to the size of the disk.",
		}
	case Key:
		later.requiredStart, later.requiredStop, later.defaultStop = "$remote_fs $network", "", ""
		later.chkconfig = "94 06"
		later.short, later.long = "Login key of this instance", "Installs the login key that was chosen when the instance was launched."
	case Image:
		later.shouldStart, later.startBefore, later.stopAfter, later.chkconfig = "ntp ntpd", "amazon", "amazon", "96 01"
		later.short, later.long = "Install RightLink", "Installs RightLink if the instance was launched with platform settings, and starts it."
	case Boot:
		later.shouldStart, later.chkconfig = "rightimage", "97 03"
		later.short, later.long = "Recognise first boot, reboot and clone", "Tells a first boot from a reboot and forgets the identity of another instance."
	case Scale:
		later.requiredStart, later.requiredStop, later.chkconfig = "$syslog $remote_fs $network rightboot", "$syslog $remote_fs rightboot", "98 02"
		later.short, later.long = "Cache user-data and metadata", "Caches user-data and metadata of the cloud in /var/spool/cloud."
	case Link:
		later.requiredStart, later.requiredStop, later.chkconfig = "$syslog $remote_fs $network rightscale", "$syslog $remote_fs $network rightscale", "99 01"
		later.short, later.long = "RightLink agent", "Enrols with the platform and runs the RightLink agent."
		later.background = false // the supervisor goes to the background by itself
	}
	return later
}

func (lsb) file(hook string) (string, []byte, fs.FileMode) {
	h := headers(hook)
	options := ""
	if h.background {
		options = " --background"
	}
	return filepath.Join("etc/init.d", hook), render("lsb.sh", map[string]string{
		"NAME": hook, "STAGE": Stage(hook), "BIN": bootstrapBin, "OPTIONS": options,
		"REQUIRED_START": h.requiredStart, "REQUIRED_STOP": h.requiredStop, "SHOULD_START": h.shouldStart,
		"START_BEFORE": h.startBefore, "STOP_AFTER": h.stopAfter, "DEFAULT_STOP": h.defaultStop, "CHKCONFIG": h.chkconfig,
		"SHORT": h.short, "LONG": h.long,
	}), 0o755
}

// render replaces @NAME@ in a template. Lines of an LSB header without a value
// are left out, except those that the standard wants.
func render(name string, values map[string]string) []byte {
	text, err := templates.ReadFile("templates/" + name)
	if err != nil {
		return nil // the tests render every hook
	}
	var lines []string
	for line := range strings.SplitAfterSeq(string(text), "\n") {
		optional := strings.HasPrefix(line, "# X-") || strings.HasPrefix(line, "# Should-")
		for k, v := range values {
			line = strings.ReplaceAll(line, "@"+k+"@", v)
		}
		if optional && strings.HasSuffix(strings.TrimSpace(line), ":") {
			continue
		}
		if strings.HasPrefix(line, "# ") {
			line = strings.TrimRight(line, " \n") + "\n"
		}
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, ""))
}

func (l lsb) enabled(hook string) bool {
	for _, pattern := range l.links("S", hook) {
		if len(l.m.glob(pattern)) > 0 {
			return true
		}
	}
	return false
}

// links are the patterns of the links that start (S) or stop (K) a script.
func (lsb) links(kind, hook string) []string {
	number := kind + "[0-9][0-9]" + hook
	return []string{
		filepath.Join("etc/rc[0-9S].d", number),
		filepath.Join("etc/rc.d/rc[0-9S].d", number),
		filepath.Join("etc/init.d/rc[0-9S].d", number), // SUSE
	}
}

// enable uses the first tool of the system; where none is there, or it did
// nothing, the links are made by hand.
func (l lsb) enable(ctx context.Context, hooks []string) error {
	for _, h := range hooks {
		start, stop, _ := strings.Cut(headers(h).chkconfig, " ")
		var err error
		switch {
		case l.m.has("update-rc.d"):
			_, err = l.tool(ctx, "update-rc.d", h, "defaults", start, stop)
		case l.m.has("chkconfig"):
			_, err = l.tool(ctx, "chkconfig", "--add", h)
		case l.m.has("insserv"):
			_, err = l.tool(ctx, "insserv", h)
		}
		if l.enabled(h) {
			continue
		}
		if madeByHand, linkErr := l.linkByHand(h, start, stop); linkErr != nil || !madeByHand {
			return fmt.Errorf("enable init script %s: none of update-rc.d, chkconfig, insserv did it, and there is no /etc/rc2.d: %w", h, errOf(err, linkErr))
		}
	}
	return nil
}

func errOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ErrInit
}

func (l lsb) linkByHand(hook, start, stop string) (done bool, err error) {
	for _, base := range []string{"etc", "etc/rc.d"} {
		for _, level := range []string{"2", "3", "4", "5"} {
			dir := filepath.Join(base, "rc"+level+".d")
			if !l.m.isDir(dir) {
				continue
			}
			if err := l.m.link("../init.d/"+hook, filepath.Join(dir, "S"+start+hook)); err != nil {
				return done, err
			}
			done = true
		}
		for _, level := range strings.Fields(headers(hook).defaultStop) {
			dir := filepath.Join(base, "rc"+level+".d")
			if !done || !l.m.isDir(dir) {
				continue
			}
			if err := l.m.link("../init.d/"+hook, filepath.Join(dir, "K"+stop+hook)); err != nil {
				return done, err
			}
		}
		if done {
			return true, nil
		}
	}
	return false, nil
}

func (l lsb) disable(ctx context.Context, hooks []string) error {
	for _, h := range hooks {
		switch { // whether it worked, the links decide
		case l.m.has("update-rc.d"):
			_, _ = l.tool(ctx, "update-rc.d", "-f", h, "remove")
		case l.m.has("chkconfig"):
			_, _ = l.tool(ctx, "chkconfig", "--del", h)
		case l.m.has("insserv"):
			_, _ = l.tool(ctx, "insserv", "-r", h)
		}
		if err := l.m.removeLinks(append(l.links("S", h), l.links("K", h)...)...); err != nil {
			return err
		}
	}
	return nil
}

// tool runs a tool of the machine below the root: these tools know no --root.
func (l lsb) tool(ctx context.Context, name string, args ...string) (string, error) {
	if l.m.real() {
		return l.m.run.Run(ctx, name, args...)
	}
	return l.m.run.Run(ctx, "chroot", append([]string{l.m.root, name}, args...)...)
}

func (lsb) written(context.Context) error { return nil }

// removed puts the other scripts in order again: insserv numbers them by their
// dependencies, and lets them keep their numbers until it is asked to look
// again. update-rc.d does that for a script that is not there.
func (l lsb) removed(ctx context.Context) error {
	var err error
	switch {
	case l.m.has("update-rc.d"):
		_, err = l.tool(ctx, "update-rc.d", "-f", Link, "remove")
	case l.m.has("insserv"):
		_, err = l.tool(ctx, "insserv")
	}
	return err
}

// start runs the scripts one after another. As in the original their exit codes
// do not matter: each writes its own result into the status file.
func (l lsb) start(ctx context.Context) error {
	for _, h := range AgentHooks() {
		if _, err := l.m.run.Run(ctx, filepath.Join(l.m.root, "etc/init.d", h), "start"); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (l lsb) stop(ctx context.Context) error {
	if !l.m.Installed(Link) {
		return nil
	}
	_, err := l.m.run.Run(ctx, filepath.Join(l.m.root, "etc/init.d", Link), "stop")
	return err
}
