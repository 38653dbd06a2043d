// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

// notRunning is the answer of "status" when nothing runs.
type notRunning string

func (n notRunning) Error() string { return string(n) }

// verb parses "[VERB] [flags] [VERB]": flags may stand on either side.
func (c call) verb(set *flag.FlagSet, fallback string, allowed ...string) (string, error) {
	set.SetOutput(c.stderr)
	set.Usage = func() {}
	verb, args := "", c.args
	for {
		if err := set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				_, _ = fmt.Fprint(c.stdout, usage)
				return "", err
			}
			return "", errUsage
		}
		if set.NArg() == 0 {
			break
		}
		if verb != "" || len(allowed) == 0 {
			return "", fmt.Errorf("unexpected argument %q: %w", set.Arg(0), errUsage)
		}
		verb, args = set.Arg(0), set.Args()[1:]
	}
	if verb == "" {
		return fallback, nil
	}
	for _, a := range allowed {
		if a == verb {
			return verb, nil
		}
	}
	return "", fmt.Errorf("unknown verb %q, use one of %s: %w", verb, strings.Join(allowed, ", "), errUsage)
}

func (c call) stage(ctx context.Context) error {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	background := set.Bool("background", false, "return at once")
	if c.name == "rightlink" {
		set.DurationVar(&c.agent.EnrolTime, "timeout", bootstrap.EnrolTime, "how long to try to enrol")
	}
	verbs := []string{"start", "stop", "status"}
	if c.name == "rightscale" {
		verbs = append(verbs, "refresh")
	}
	verb, err := c.verb(set, "run", verbs...)
	if err != nil {
		return err
	}
	switch verb {
	case "refresh":
		return c.report(c.agent.Refresh(ctx))
	case "status":
		return c.stageStatus()
	case "stop":
		if c.name != "rightlink" {
			return nil // stages end by themselves
		}
		return c.report(c.agent.StopAgent(ctx))
	}
	if c.name == "rightlink" && verb == "start" {
		return c.report(c.agent.StartAgent(ctx, self()))
	}
	if c.agent.EnrolTime < 0 {
		return fmt.Errorf("--timeout %s is not a time: %w", c.agent.EnrolTime, errUsage)
	}
	if *background {
		return c.agent.Background(self(), c.name)
	}
	_, err = c.agent.Do(ctx, c.name)
	return err
}

// report prints one line about what was done.
func (c call) report(done string, err error) error {
	if err == nil && done != "" {
		_, err = fmt.Fprintln(c.stdout, done)
	}
	return err
}

func (c call) stageStatus() error {
	s, err := status.Load(c.agent.Root)
	if err != nil {
		return err
	}
	if c.name == "rightlink" {
		if pid, running, err := supervise.Status(c.agent.Root); err == nil && running {
			return c.report(fmt.Sprintf("supervisor runs, process %d", pid), nil)
		}
	}
	st, ok := s.Stage(c.name)
	if !ok {
		return notRunning("stage " + c.name + " did not run on this instance")
	}
	_, err = fmt.Fprintln(c.stdout, strings.TrimSpace(fmt.Sprintf("%s: %s %s", c.name, st.Result, st.Detail)))
	if err == nil && (st.Result == status.Failed || c.name == "rightlink") {
		return notRunning("")
	}
	return err
}

func (c call) status() error {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	asJSON := set.Bool("json", false, "print JSON")
	if _, err := c.verb(set, ""); err != nil {
		return err
	}
	s, err := status.Load(c.agent.Root)
	if err != nil {
		return err
	}
	if !*asJSON {
		return s.Render(c.stdout)
	}
	if s.Stages == nil {
		s.Stages = []status.Stage{}
	}
	enc := json.NewEncoder(c.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

func (c call) register(ctx context.Context) error {
	var o bootstrap.RegisterOptions
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	set.BoolVar(&o.Image, "image", false, "write all hooks, enable those of the image")
	set.BoolVar(&o.Remove, "remove", false, "stop the agent, disable its hooks")
	set.Func("stages", "stages to enable or disable, separated by commas", func(v string) error {
		o.Stages = append(o.Stages, strings.Split(v, ",")...)
		return nil
	})
	if _, err := c.verb(set, ""); err != nil {
		return err
	}
	changed, err := c.agent.Register(ctx, o)
	c.list(changed, "nothing to do", err)
	return err
}

func (c call) uninstall(ctx context.Context) error {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	purge := set.Bool("purge", false, "remove RightLink's package first")
	if _, err := c.verb(set, ""); err != nil {
		return err
	}
	removed, err := c.agent.Uninstall(ctx, *purge)
	for i := range removed {
		removed[i] = "removed " + removed[i]
	}
	c.list(removed, "nothing to remove", err)
	return err
}

func (c call) upgrade(ctx context.Context) error {
	var o bootstrap.UpgradeOptions
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	set.StringVar(&o.Version, "version", "", "version or channel")
	set.BoolVar(&o.Check, "check", false, "only say what would be done")
	set.BoolVar(&o.Judge, "judge", false, "only end the trial that a boot has begun")
	background := set.Bool("background", false, "return at once")
	if _, err := c.verb(set, ""); err != nil {
		return err
	}
	if o.Version != "" && !pkgname.IsVersion(o.Version) && !pkgname.IsChannel(o.Version) {
		return fmt.Errorf("--version %q is neither a version nor a channel: %w", o.Version, errUsage)
	}
	if *background {
		args := []string{"upgrade"}
		if o.Version != "" {
			args = append(args, "--version", o.Version)
		}
		return c.agent.Background(self(), args...)
	}
	return c.report(c.agent.Upgrade(ctx, o))
}

func (c call) supervise(ctx context.Context) error {
	verb, err := c.verb(flag.NewFlagSet(c.name, flag.ContinueOnError), "start", "start", "stop", "status", "run")
	if err != nil {
		return err
	}
	switch verb {
	case "run":
		return c.agent.Supervise(ctx, c.output)
	case "stop":
		stopped, err := supervise.Stop(ctx, c.agent.Root)
		if err == nil && !stopped {
			return c.report("the supervisor was not running", nil)
		}
		return err
	case "status":
		pid, running, err := supervise.Status(c.agent.Root)
		if err != nil {
			return err
		}
		if !running {
			return notRunning("the supervisor does not run")
		}
		return c.report(fmt.Sprintf("supervisor runs, process %d", pid), nil)
	}
	return c.report(c.agent.StartSupervisor(ctx, self()))
}

// self is the path of this program, also where /proc is not mounted.
func self() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return "/opt/rightscale/bin/bootstrap"
}

// list prints what was done, also if it ended with an error.
func (c call) list(lines []string, none string, err error) {
	if len(lines) == 0 && err == nil {
		lines = []string{none}
	}
	for _, l := range lines {
		_, _ = fmt.Fprintln(c.stdout, l)
	}
}
