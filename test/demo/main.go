// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command demo plays the main job of the project on this machine, without a
// cloud account: a base disk becomes an AMI in the local cloud, and two
// instances of it enrol with the platform as two different servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := demo
	if len(os.Args) == 2 && os.Args[1] == "base-disk" {
		do = baseDisk
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// baseDisk prints the path of the base disk, which it builds if the cache has
// none: for other tests that need one.
func baseDisk(ctx context.Context) error {
	env, err := chain.New("base-disk", os.Stderr)
	if err != nil {
		return err
	}
	path, err := env.BaseDisk(ctx, chain.Systemd)
	if err = errors.Join(err, env.Close()); err == nil {
		fmt.Println(path)
	}
	return err
}

func demo(ctx context.Context) error {
	env, err := chain.New("demo", os.Stdout)
	if err != nil {
		return err
	}
	story := chain.NewStory(env)
	err = story.Run(ctx)
	if ctx.Err() != nil {
		env.Say("interrupted: cleaning up")
	}
	err = errors.Join(err, env.Close())
	summary(story, err)
	return err
}

func summary(s *chain.Story, err error) {
	line := strings.Repeat("-", 60)
	fmt.Println(line)
	for _, t := range s.Times() {
		fmt.Printf("%-40s %6.1f s\n", t.Step, t.Took.Seconds())
	}
	fmt.Println(line)
	if s.Image != "" {
		fmt.Printf("AMI        %s in %s, snapshot %s\n", s.Image, chain.Region, s.Snapshot)
	}
	for _, role := range chain.Roles() {
		if id := s.InstanceOf(role.Name); id != "" {
			fmt.Printf("server     %s was instance %s\n", role.Name, id)
		}
	}
	fmt.Printf("logs       %s\n", s.Logs)
	if err == nil {
		fmt.Println("result     everything worked; all of it is stopped and removed again")
	}
}
