// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command bootstrap is the agent that is baked into an image: it makes the
// machine reachable, installs RightLink if the launch asks for it, caches the
// launch's settings, and enrols. Everything it does is in package bootstrap.
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
	"slices"
	"syscall"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Exit codes, as in the original seed script.
const (
	exitOK      = 0
	exitFailed  = 1
	exitSystem  = 2   // system or architecture unknown
	exitUsage   = 255 // wrong arguments
	exitStopped = 3   // what the LSB wants of "status" when nothing runs
)

func main() {
	os.Exit(command(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// ended is done when the program is told to end, for commands that have to
// leave something in order. The short stages of every boot have nothing: they
// can be killed at any instruction, and a handler is a tenth of their cost.
func (c call) ended(ctx context.Context) (context.Context, context.CancelFunc) {
	if slices.Contains([]string{"early", "key", "rightboot", "rightscale", "version", "help"}, c.name) {
		return ctx, func() {}
	}
	return signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
}

// errUsage marks mistakes in the arguments.
var errUsage = errors.New("see bootstrap --help")

// call is one call of the program.
type call struct {
	agent          *bootstrap.Agent
	stdout, stderr io.Writer
	// output gets what supervised commands print.
	output io.Writer
	args   []string // after the command's name
	name   string
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	global := flag.NewFlagSet("bootstrap", flag.ContinueOnError)
	root := global.String("root", "/", "take all paths below this directory")
	if code, done := parse(global, args, stdout, stderr); done {
		return code
	}
	if global.NArg() == 0 {
		_, _ = fmt.Fprint(stderr, usage)
		return exitUsage
	}
	output := stderr
	if os.Getenv(supervise.DetachedEnv) != "" {
		output = supervise.NewSink(*root, "rightimage")
	}
	c := call{
		agent: &bootstrap.Agent{
			Root: *root, Log: logger(output),
			Run:    run.Exec{Env: environment()},
			Stream: run.Exec{Env: environment(), Copy: output},
		},
		stdout: stdout, stderr: stderr, output: output, name: global.Arg(0), args: global.Args()[1:],
	}
	ctx, stop := c.ended(ctx)
	defer stop()
	err := c.dispatch(ctx)
	if err == nil {
		return exitOK
	}
	if err.Error() != "" && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(output, "bootstrap %s: %v\n", c.name, err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var stopped notRunning
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &stopped):
		return exitStopped
	case errors.Is(err, detect.ErrUnknownOS):
		return exitSystem
	}
	return exitFailed
}

// environment is what package managers and scripts need at boot, where there
// is nobody to answer a question.
func environment() []string {
	env := []string{"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	if os.Getenv("PATH") == "" {
		env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return env
}

// logger writes without time: the journal and the system log have their own.
func logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if text := os.Getenv("LOG_LEVEL"); text != "" {
		_ = level.UnmarshalText([]byte(text)) // an unknown word leaves info
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func parse(set *flag.FlagSet, args []string, stdout, stderr io.Writer) (code int, done bool) {
	set.SetOutput(stderr)
	set.Usage = func() {} // the one usage text is printed where it belongs
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprint(stdout, usage)
		return exitOK, true
	case err != nil:
		_, _ = fmt.Fprintln(stderr, errUsage)
		return exitUsage, true
	}
	return 0, false
}

func (c call) dispatch(ctx context.Context) error {
	switch c.name {
	case "status":
		return c.status()
	case "register":
		return c.register(ctx)
	case "uninstall":
		return c.uninstall(ctx)
	case "supervise":
		return c.supervise(ctx)
	case "upgrade":
		return c.upgrade(ctx)
	case "version":
		_, err := fmt.Fprintln(c.stdout, version.String())
		return err
	case "help":
		_, err := fmt.Fprint(c.stdout, usage)
		return err
	}
	if _, ok := bootstrap.Find(c.name); ok {
		return c.stage(ctx)
	}
	return fmt.Errorf("there is no such command: %w", errUsage)
}
