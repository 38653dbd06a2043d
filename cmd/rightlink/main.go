// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command rightlink is the persistent agent of an instance: it enrols with the
// platform, runs the boot scripts of the ServerTemplate, reports the state and
// runs the decommission scripts before the machine goes down.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/agent"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/enroll"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/tools"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

const usage = `rightlink connects this machine to its management platform.

usage: rightlink [--root DIR] COMMAND [options]

  enroll [--timeout D]  make this machine known to the platform; does nothing
                        if it is already. D is like 90s or 24h (default 96h).
                        Exit code 0 enrolled, 1 no usable identity, 254
                        interrupted, 255 gave up.
  run                   be the agent, until SIGTERM: enrol if needed, run the
                        boot scripts once per boot, report the state, keep the
                        session. When the machine goes down, the decommission
                        scripts run first. A machine without an identity is
                        dormant: run ends at once with exit code 0.
  status [--json]       show the state of the agent on this machine
  version               show the version

The program answers to these names too, each with its own --help: rs_config,
rs_connect, rs_log_level, rs_reenroll, rs_run_right_script, rs_shutdown, rs_state,
rs_tag.

Where to look: /var/lib/rightscale-identity is the identity (from the user-data,
written by bootstrap), /var/lib/rightscale/right_link holds the state, and
"journalctl -u rightlink" shows the log. Set LOG_LEVEL=debug for more of it.
--root DIR takes all paths below DIR; it is for tests.
`

func main() {
	if code, known := called(filepath.Base(os.Args[0]), os.Args[1:]); known {
		os.Exit(code)
	}
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// called runs the rs_* command by whose name the program was started.
func called(name string, args []string) (code int, known bool) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return tools.Run(ctx, name, args, tools.Env{Root: "/", Stdout: os.Stdout, Stderr: os.Stderr, Commands: run.Exec{}})
}

// options of all commands.
type options struct {
	root    string
	timeout flagDuration
	json    bool
}

func command(args []string, stdout, stderr io.Writer) int {
	var o options
	global := flags("rightlink", &o, stderr)
	if code, done := parse(global, args, stdout); done {
		return code
	}
	if global.NArg() == 0 {
		fmt.Fprint(stderr, usage)
		return enroll.ExitUsage
	}
	name := global.Arg(0)
	local := flags("rightlink "+name, &o, stderr)
	switch name {
	case "enroll":
		local.Var(&o.timeout, "timeout", "how long to try, for example 24h")
	case "status":
		local.BoolVar(&o.json, "json", false, "print JSON")
	case "run", "version":
	case "help":
		fmt.Fprint(stdout, usage)
		return enroll.ExitOK
	default:
		fmt.Fprintf(stderr, "rightlink: there is no command %q; see rightlink --help\n", name)
		return enroll.ExitUsage
	}
	if code, done := parse(local, global.Args()[1:], stdout); done {
		return code
	}
	if local.NArg() > 0 {
		fmt.Fprintf(stderr, "rightlink %s: unexpected argument %q\n", name, local.Arg(0))
		return enroll.ExitUsage
	}
	return dispatch(name, o, stdout, stderr)
}

func dispatch(name string, o options, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	level := new(slog.LevelVar)
	log := logger(stderr, level, name == "run")
	switch name {
	case "enroll":
		_, err := enroll.Run(ctx, enroll.Options{Root: paths.Root(o.root), Version: version.String(), Timeout: o.timeout.d, Log: log})
		return report("enroll", err, enroll.ExitCode(err), stderr)
	case "run":
		return runAgent(ctx, o, log, level, stderr)
	case "status":
		return status(paths.Root(o.root), o.json, stdout, stderr)
	default:
		fmt.Fprintln(stdout, version.String())
		return enroll.ExitOK
	}
}

func runAgent(ctx context.Context, o options, log *slog.Logger, level *slog.LevelVar, stderr io.Writer) int {
	notify := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Debug("telling systemd", "error", err)
		}
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog's settings cannot be read", "error", err)
	}
	err = agent.Run(ctx, agent.Options{Root: paths.Root(o.root), Version: version.String(), Log: log, Level: level, Watchdog: watchdog, Notify: notify})
	if errors.Is(err, identity.ErrAbsent) {
		notify("READY=1")
		log.Info("dormant", "reason", err)
		return 0
	}
	code := 0
	if err != nil {
		code = 1
	}
	return report("run", err, code, stderr)
}

func report(name string, err error, code int, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintf(stderr, "rightlink %s: %v\n", name, err)
	}
	return code
}

func flags(name string, o *options, stderr io.Writer) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {} // parse prints the one usage text where it belongs
	if o.root == "" {
		o.root = "/"
	}
	set.StringVar(&o.root, "root", o.root, "take all paths below this directory")
	return set
}

func parse(set *flag.FlagSet, args []string, stdout io.Writer) (code int, done bool) {
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return enroll.ExitOK, true
	case err != nil:
		fmt.Fprintf(set.Output(), "see rightlink --help\n")
		return enroll.ExitUsage, true
	}
	return 0, false
}
