// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command storm measures the platform: a boot storm, pushes in the steady state
// and a reconnect storm, on SQLite and on PostgreSQL, and what an agent costs when
// the database knows many. It starts rightscaled and PostgreSQL itself, on this
// machine. "make bench" runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
	"github.com/rightimage/packer-plugin-rightimage/test/storm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

type options struct {
	binary    string
	agents    int
	databases string
	within    time.Duration
	cost      bool
	legacy    bool
	json      bool
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("storm", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "", "rightscaled; default: it is built")
	flags.IntVar(&o.agents, "agents", 5000, "agents of a storm")
	flags.DurationVar(&o.within, "within", 10*time.Second, "the agents start within this time")
	flags.StringVar(&o.databases, "databases", "sqlite,postgres", "what to run on")
	flags.BoolVar(&o.cost, "cost", true, "compare the cost per agent at 1,000 and at 20,000 known agents")
	flags.BoolVar(&o.legacy, "legacy", false, "agents enrol with their tokens alone")
	flags.BoolVar(&o.json, "json", false, "print the reports as JSON lines")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "storm-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.binary == "" {
		o.binary = filepath.Join(dir, "rightscaled")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "./cmd/rightscaled")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	for _, kind := range strings.Split(o.databases, ",") {
		if err := o.on(ctx, kind, filepath.Join(dir, kind)); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// on runs everything on one kind of database.
func (o options) on(ctx context.Context, kind, dir string) (err error) {
	base := storm.Options{Binary: o.binary, Agents: o.agents, Within: o.within, Replicas: 1, Legacy: o.legacy, Steady: 10 * time.Second, Restart: true,
		Log: func(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }}
	database := func(context.Context) (string, error) { return "", nil }
	if kind == storetest.PostgreSQL {
		cluster, err := storetest.StartCluster(ctx, true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cluster.Stop()) }()
		database = func(ctx context.Context) (string, error) { return cluster.Create(ctx, "") }
		base.Replicas, base.DatabaseTime = 2, cluster.CPU
	}
	one := func(name string, change func(*storm.Options)) (storm.Report, error) {
		o := base
		change(&o)
		o.Dir = filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return storm.Report{}, err
		}
		var err error
		if o.Database, err = database(ctx); err != nil {
			return storm.Report{}, err
		}
		return storm.Run(ctx, o)
	}
	r, err := one("storm", func(*storm.Options) {})
	if err != nil {
		return err
	}
	o.print(kind, fmt.Sprintf("boot storm, %d replica(s)", base.Replicas), r)
	if kind == storetest.PostgreSQL {
		r, err := one("storm with kill -9", func(s *storm.Options) { s.Disturb, s.Steady, s.Restart = storm.Kill, 0, false })
		if err != nil {
			return err
		}
		o.print(kind, "boot storm, kill -9 of one of 2 replicas", r)
	}
	if o.cost {
		return o.compare(kind, one)
	}
	return nil
}

// costAgents boot in each measurement of the cost.
const costAgents = 500

// compare measures what an agent costs beside few and beside many others.
func (o options) compare(kind string, one func(string, func(*storm.Options)) (storm.Report, error)) error {
	var costs []time.Duration
	for _, known := range []int{1000, 20000} {
		var runs []time.Duration
		for n := range 3 {
			r, err := one(fmt.Sprint("known ", known, " ", n), func(s *storm.Options) {
				s.Known, s.Agents, s.Replicas, s.Steady, s.Restart, s.Within = known, costAgents, 1, 0, false, 2*time.Second
			})
			if err != nil {
				return err
			}
			runs = append(runs, r.Cost())
		}
		slices.Sort(runs)
		costs = append(costs, runs[1])
		fmt.Printf("%-9s %d agents beside %d known: %.2f ms of processor time each (median of 3)\n", kind, costAgents, known, ms(runs[1]))
	}
	fmt.Printf("%-9s cost at 20,000 known agents: %.2f times that at 1,000\n", kind, float64(costs[1])/float64(costs[0]))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (o options) print(kind, what string, r storm.Report) {
	if o.json {
		raw, err := json.Marshal(map[string]any{"database": kind, "what": what, "report": r})
		if err == nil {
			fmt.Println(string(raw))
		}
		return
	}
	fmt.Printf("%-9s %s\n", kind, what)
	fmt.Printf("  %d agents, started within %s, operational after %s: %.0f a second; each enrolled once, none lost\n", r.Agents, o.within, r.Boot.Round(10*time.Millisecond), r.Rate)
	fmt.Printf("  a request takes %s (%d requests, by status %v)\n", r.Requests, r.Requests.Count, r.Statuses)
	fmt.Printf("  an agent boots in %s\n", r.Boots)
	fmt.Printf("  %.2f ms of processor time per agent: rightscaled %.2f, database %.2f\n", ms(r.Cost()), ms(r.CPU)/float64(r.Agents), ms(r.Database)/float64(r.Agents))
	if r.Pushes.Count > 0 {
		fmt.Printf("  steady state: a script from another process arrives in %s (%d scripts)\n", r.Pushes, r.Pushes.Count)
	}
	if r.Reconnect > 0 {
		fmt.Printf("  reconnect storm: all back %s after the restart began\n", r.Reconnect.Round(10*time.Millisecond))
	}
}
