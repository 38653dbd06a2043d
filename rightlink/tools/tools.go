// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package tools are the rs_* commands of an instance: small programs that ask
// the running agent, in the manner of RightLink 6. They are one binary with the
// agent; the name by which it is called chooses.
package tools

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Env is what a command works with.
type Env struct {
	// Root is "/" unless the option --root says otherwise; it is for tests.
	Root           paths.Root
	Stdout, Stderr io.Writer
	Commands       run.Runner
}

// tool is one command.
type tool struct {
	usage string
	// run defines its options on the set, calls parse, and does its work.
	run func(c *call) error
}

// call is one invocation.
type call struct {
	Env
	ctx  context.Context //nolint:containedctx // a call lives as long as the process
	name string
	set  *flag.FlagSet
	args []string
}

// Exit codes. -1 is what rs_connect has always ended with.
const (
	exitOK     = 0
	exitFailed = 1
	exitMinus  = 255
)

// errUsage says that the usage has been told.
var errUsage = errors.New("wrong usage")

// Names lists the commands.
func Names() []string { return slices.Sorted(maps.Keys(tools())) }

func tools() map[string]tool {
	return map[string]tool{
		"rs_state":            {stateUsage, runState},
		"rs_tag":              {tagUsage, runTag},
		"rs_run_right_script": {scriptUsage, runScript},
		"rs_shutdown":         {shutdownUsage, runShutdown},
		"rs_log_level":        {levelUsage, runLevel},
		"rs_config":           {configUsage, runConfig},
		"rs_connect":          {connectUsage, runConnect},
		"rs_reenroll":         {reenrollUsage, runReenroll},
	}
}

// Run runs the command of that name and returns its exit code; false if there
// is none.
func Run(ctx context.Context, name string, args []string, env Env) (code int, known bool) {
	t, known := tools()[name]
	if !known {
		return 0, false
	}
	c := &call{Env: env, ctx: ctx, name: name, args: args, set: flag.NewFlagSet(name, flag.ContinueOnError)}
	c.set.SetOutput(io.Discard)
	c.set.String("root", string(env.Root), "take all paths below this directory")
	c.set.Usage = func() {}
	err := t.run(c)
	switch {
	case err == nil:
		return exitOK, true
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(env.Stdout, t.usage)
		return exitOK, true
	case errors.Is(err, errUsage):
		fmt.Fprintf(env.Stderr, "%s: %v\nsee %s --help\n", name, err, name)
	default:
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
	}
	if name == "rs_connect" {
		return exitMinus, true
	}
	return exitFailed, true
}

// parse reads the options that the command has defined.
func (c *call) parse() error {
	switch err := c.set.Parse(c.args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	c.Root = paths.Root(c.set.Lookup("root").Value.String())
	return nil
}

// parseAll is parse for commands without arguments.
func (c *call) parseAll() error {
	if err := c.parse(); err != nil {
		return err
	}
	if c.set.NArg() > 0 {
		return c.wrong("unexpected argument %q", c.set.Arg(0))
	}
	return nil
}

func (c *call) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// text defines a text option under two names.
func (c *call) text(to *string, long, short string) {
	c.set.StringVar(to, long, *to, "")
	if short != "" {
		c.set.StringVar(to, short, *to, "")
	}
}

// yes defines a switch under two names.
func (c *call) yes(to *bool, long, short string) {
	c.set.BoolVar(to, long, false, "")
	if short != "" {
		c.set.BoolVar(to, short, false, "")
	}
}

// list defines an option that may be repeated, under two names.
func (c *call) list(to *[]string, long, short string) {
	add := func(text string) error {
		*to = append(*to, text)
		return nil
	}
	c.set.Func(long, "", add)
	c.set.Func(short, "", add)
}

// seconds defines a time-out in seconds under two names.
func (c *call) seconds(to *time.Duration, long, short string) {
	set := func(text string) error {
		d, err := time.ParseDuration(strings.TrimSuffix(text, "s") + "s")
		if err != nil || d <= 0 {
			return fmt.Errorf("want a number of seconds")
		}
		*to = d
		return nil
	}
	c.set.Func(long, "", set)
	c.set.Func(short, "", set)
}
