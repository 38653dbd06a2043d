// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command boot measures what a boot costs: wall time, CPU, memory and requests
// of bootstrap's stages against a metadata service in miniature, on a first, a
// later and a dormant boot, next to the least that a Go program needs to fetch
// the same (the floor), and next to cloud-init where it is installed. With root
// all of them run in a network of their own, where 169.254.169.254 is the
// service. "make bench" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/agents"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

// run builds and unpacks what is measured, and measures it in a second process.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("boot", flag.ContinueOnError)
	o := options{}
	flags.StringVar(&o.bootstrap, "bootstrap", "", "the program to measure (default: the one that the plugin puts into images)")
	flags.StringVar(&o.floor, "floor", "", "the program to measure against (default: test/bench/boot/floor, built as the agents are)")
	flags.IntVar(&o.runs, "runs", 9, "boots per row; the median is shown")
	flags.DurationVar(&o.delay, "delay", time.Millisecond, "what each request takes")
	flags.BoolVar(&o.check, "check", false, "fail when a limit is not kept")
	flags.BoolVar(&o.cloudInit, "cloud-init", true, "measure cloud-init too, if it is installed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getenv(insideEnv) == "" {
		return inside(ctx, o, args)
	}
	return tables(ctx, o)
}

type options struct {
	bootstrap, floor string
	runs             int
	delay            time.Duration
	check, cloudInit bool
}

// insideEnv is set in the process that measures; "network" says that it has a
// network of its own.
const insideEnv = "RIGHTIMAGE_BENCH_INSIDE"

// inside measures in a process of its own, which stays small: the memory of a
// child counts from its parent's on. With root it gets a network and mounts.
func inside(ctx context.Context, o options, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rightimage-boot-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.bootstrap == "" {
		data, err := agents.Bootstrap(runtime.GOARCH)
		if err != nil {
			return err
		}
		bootstrap := filepath.Join(dir, "bootstrap")
		if err := os.WriteFile(bootstrap, data, 0o755); err != nil {
			return err
		}
		args = append(args, "-bootstrap", bootstrap)
	}
	if o.floor == "" {
		least := filepath.Join(dir, "floor")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", least, "github.com/rightimage/packer-plugin-rightimage/test/bench/boot/floor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the floor (or name one, -floor): %w: %s", err, out)
		}
		args = append(args, "-floor", least)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), insideEnv+"=loopback")
	if os.Geteuid() == 0 {
		cmd.Env = append(cmd.Env, insideEnv+"=network")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

func tables(ctx context.Context, o options) error {
	work, err := os.MkdirTemp("", "rightimage-boot-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	var errs []error
	for _, closes := range []bool{false, true} {
		s, err := startService(ctx, o.delay, closes)
		if err != nil {
			return err
		}
		b, err := newBench(o, work, s)
		if err == nil {
			err = b.table(ctx)
		}
		errs = append(errs, err, s.Close())
	}
	return errors.Join(errs...)
}
